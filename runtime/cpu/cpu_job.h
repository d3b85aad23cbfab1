// All ranks of a plan on the CPU, one thread each; or one of them, with a fake process group.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "runtime/cpu/cpu_rank.h"

namespace orrery {

template <class T>
class CpuJob {
 public:
  // `plan` and `config` outlive the job. `only`: the one rank that runs, without the others.
  CpuJob(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
         CpuOptions options, std::optional<int64_t> only = std::nullopt);

  // The step on every rank; what the first saw. Throws the first rank's error.
  StepResult step(const StepTokens& tokens, const OptimizerStep& optimizer);
  // By number in this job: all ranks, or 0 for the only one.
  CpuRank<T>& rank(int64_t r) { return *ranks_[static_cast<std::size_t>(r)]; }
  int64_t ranks() const { return static_cast<int64_t>(ranks_.size()); }

 private:
  ThreadCommunicator communicator_;
  std::vector<std::unique_ptr<CpuRank<T>>> ranks_;
};

}  // namespace orrery
