// All ranks of a plan in this process, on its CPU cores, behind the Executor interface.
#pragma once

#include <memory>
#include <vector>

#include "runtime/cpu/cpu_job.h"
#include "runtime/executor.h"

namespace orrery {

// What all ranks, or only one, hold all the time: weights, gradients and optimizer states, in FP32
// throughout.
int64_t cpu_static_bytes(const ExecPlan& plan, std::optional<int64_t> only = std::nullopt);

class CpuExecutor : public Executor {
 public:
  // `plan` and `config` outlive the executor. Throws Infeasible when what the ranks hold all the
  // time is more than the machine's memory.
  CpuExecutor(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
              const ExecutorOptions& options, CpuNumerics mode = CpuNumerics::kFakeQuant);
  ~CpuExecutor() override;

  std::vector<RankState*> local_ranks() override;
  StepResult step(const StepTokens& tokens, const OptimizerStep& optimizer) override;
  void restore() override;
  void barrier() override {}
  // Of the whole process.
  DeviceMemory memory() const override;
  std::vector<OpRecord> take_records() override;

 private:
  class Rank;
  void gather_weights(CpuState<float>& to, std::size_t share);

  const ExecPlan& plan_;
  const bool fake_group_;
  CpuJob<float> job_;
  // Weights are gathered when the next step needs them, so reading them gathers them first.
  bool gathered_late_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::vector<OpRecord> records_;
};

}  // namespace orrery
