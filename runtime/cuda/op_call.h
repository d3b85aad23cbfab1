// One op of the plan about to be put on a stream: its operands resolved to device memory.
#pragma once

#include <functional>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/moe/layout_view.h"
#include "runtime/cuda/tensor.h"
#include "runtime/cuda/weights.h"
#include "runtime/model/step.h"

namespace orrery {

class Collectives;

// Rows that the router's choice gave a layer for one micro-batch, known to the host.
struct CudaRouting {
  int64_t arrived = 0, expanded = 0;
  std::vector<int64_t> send_rows, recv_rows;  // [ranks + 1], exclusive prefixes; empty: one rank
  // The same of what arrived at each rank that has a part of the same experts.
  std::vector<int64_t> member_rows = {0, 0};
  int64_t gathered() const { return member_rows.back(); }
};

// Memory for the time of one op, on its stream.
class Scratch {
 public:
  virtual ~Scratch() = default;
  virtual char* get(int64_t bytes) = 0;
};

struct CudaOpCall {
  const Op& op;
  const StageGraph& graph;
  const GraphConfig& config;
  const Numerics& numerics;
  cudaStream_t stream = nullptr;
  kernels::GemmContext& gemm;
  Scratch& scratch;
  CudaWeights& weights;
  const float2* rope_table = nullptr;
  std::vector<CudaTensor*> in = {}, out = {};
  const Param* param = nullptr;
  KernelWeight weight{};  // of a buffer: f32
  float* grad = nullptr;
  KernelWeight bias{};  // of Op::bias
  float* bias_grad = nullptr;
  float* load = nullptr;  // kRouter
  CudaRouting* routing = nullptr;
  const int32_t* tokens_of_batch = nullptr;  // kLoadTokens
  int64_t local_experts = 0, ranks = 1;
  Collectives* expert_tensor = nullptr;  // ranks with parts of the same experts; none: only this
  ExecPlan::Position at{};

  const OpShape& shape() const { return op.shape; }
  int64_t tokens() const { return config.plan.rows_per_rank(); }
  int64_t top_k() const { return config.model.experts_per_token; }
  bool fp8() const { return config.plan.precision == Precision::kFp8; }
  // The indices in a packed tensor of this layer.
  kernels::ExpertLayout expert_layout(const CudaTensor& t) const {
    return kernels::expert_layout_view(t.i32(), routing->gathered(), top_k(), local_experts,
                                       routing->expanded);
  }
  kernels::DispatchLayout dispatch_layout(const CudaTensor& t) const {
    return kernels::dispatch_layout_view(t.i32(), tokens(), top_k(), ranks, local_experts);
  }
};

// What a compute op takes from `scratch`, for those that can be part of a CUDA graph.
int64_t scratch_bytes(const CudaOpCall& c);

// Puts the op's kernels on the stream; false when the kind belongs to another file.
bool launch_map_op(CudaOpCall& c);
bool launch_cast_op(CudaOpCall& c);
bool launch_matrix_op(CudaOpCall& c);
bool launch_moe_op(CudaOpCall& c);
bool launch_block_op(CudaOpCall& c);
bool launch_activation_copy(CudaOpCall& c);  // kStoreActivations, kLoadActivations
bool launch_optimizer_op(CudaOpCall& c, const OptimizerStep& step);
void launch_muon_op(CudaOpCall& c, const OptimizerStep& step);

// Where an op that updates weights finds the states of `n` parameters, from the `first` that the
// rank owns on: in its last input when they come from host memory, else where they are held.
struct DeviceStates {
  float* master;
  char *m, *v;  // in the type that moments are kept in; of Muon's shares v is null
};
DeviceStates states_of(CudaOpCall& c, const CudaWeights::Share& share, int64_t first, int64_t n);
void copy_states(CudaOpCall& c);  // kLoadStates, kStoreStates

// The step's statistics, the first input of ops that update weights, to the host, once a step.
void take_statistics(CudaOpCall& c);

}  // namespace orrery
