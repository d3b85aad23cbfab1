// One op of the plan about to run on the CPU: its operands resolved to memory.
#pragma once

#include <vector>

#include "kernels/gemm/layout.h"
#include "runtime/cpu/tensor.h"
#include "runtime/model/rank_layout.h"
#include "runtime/model/step.h"

namespace orrery {

// How the CPU backend treats low-precision formats.
enum class CpuNumerics : uint8_t {
  kExact,      // casts keep the value
  kFakeQuant,  // casts round to the format with its scales
};

// What an all-to-all leaves for the later ones of its layer and micro-batch.
struct RoutingState {
  std::vector<int64_t> send_rows, recv_rows;  // [ranks + 1], exclusive prefixes
};

template <class T>
struct OpCall {
  const Op& op;
  const StageGraph& graph;
  const GraphConfig& config;
  const Numerics& numerics;
  CpuNumerics mode;
  const std::vector<T>& rope_table;
  std::vector<HostTensor<T>*> in, out;
  const Param* param = nullptr;
  T* weight = nullptr;  // what kernels read; of a buffer: its values
  T* grad = nullptr;
  T* bias = nullptr;  // of Op::bias
  T* bias_grad = nullptr;
  T* load = nullptr;         // kRouter: tokens per expert
  int64_t first_expert = 0;  // of the rank, in its layer
  int64_t local_experts = 0;
  int64_t ranks = 1;            // of the expert-parallel group
  int64_t share = kNoShare;     // that a collective or the optimizer works on
  uint64_t random_key = 0;      // of the run and the step
  uint64_t first_sequence = 0;  // of the micro-batch, in the data
  ExecPlan::Position at{};

  const OpShape& shape() const { return op.shape; }
  const T* input(std::size_t i) const { return in[i]->values.data(); }
  // Rows of the residual stream, which the router sees.
  int64_t tokens() const { return config.plan.rows_per_rank(); }
};

// [rows, 2·cols] from two tensors of rows of `cols`.
template <class T>
std::vector<T> join_rows(const std::vector<T>& a, const std::vector<T>& b, int64_t cols) {
  std::vector<T> out;
  out.reserve(a.size() + b.size());
  for (std::size_t at = 0; at < a.size(); at += static_cast<std::size_t>(cols)) {
    const auto from = static_cast<std::ptrdiff_t>(at);
    out.insert(out.end(), a.begin() + from, a.begin() + from + cols);
    out.insert(out.end(), b.begin() + from, b.begin() + from + cols);
  }
  return out;
}

// Compute ops; false when the kind belongs to another file.
template <class T>
bool run_matrix_op(OpCall<T>& c);
template <class T>
bool run_map_op(OpCall<T>& c);
template <class T>
bool run_moe_op(OpCall<T>& c);
template <class T>
bool run_block_op(OpCall<T>& c);

}  // namespace orrery
