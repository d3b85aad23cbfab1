// One rank of the CPU backend: it interprets the rank's program of the ExecPlan, stream by stream,
// on its own thread. The reference for every other executor of the plan.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "runtime/cpu/communicator.h"
#include "runtime/cpu/op_call.h"
#include "runtime/cpu/optimizer_ops.h"
#include "sim/exec/stream_program.h"
#include "sim/exec/trace.h"

namespace orrery {

struct CpuOptions {
  CpuNumerics numerics = CpuNumerics::kExact;
  uint64_t seed = 0;  // of the initial weights
  bool record = false;
  bool fake_group = false;  // the rank runs without the others (fake_group.h)
};

// A weight of one rank, or its part of an expert-parallel one.
template <class T>
struct ParamView {
  const Param* param;
  int64_t first_expert;
  T* master;  // [rows, cols]
};

template <class T>
class CpuRank {
 public:
  CpuRank(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics, int64_t rank,
          ThreadCommunicator& communicator, const CpuOptions& options);
  ~CpuRank();

  // One step. Throws InputError-derived errors of the ops; a deadlock is an Error.
  StepResult run_step(const StepTokens& tokens, const OptimizerStep& optimizer);

  // Weights after the last step, all of the rank's share and not only what it owns.
  std::vector<T>& weights(int share);
  // This rank's shard of the reduced gradients of the last step, before clipping.
  const std::vector<T>& reduced_gradients(int share) const;
  std::vector<T>& buffers();
  const RankLayout& layout() const;
  // Copies the weights to what the kernels read; after a change from outside.
  void refresh_kernel_weights();
  // The same where the master weights are right already.
  void cast_kernel_weights();
  CpuState<T>& state();
  std::vector<OpRecord> take_records();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery
