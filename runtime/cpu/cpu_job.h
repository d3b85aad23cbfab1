// All ranks of a plan on the CPU, one thread each.
#pragma once

#include <memory>
#include <vector>

#include "runtime/cpu/cpu_rank.h"

namespace orrery {

template <class T>
class CpuJob {
 public:
  // `plan` and `config` outlive the job.
  CpuJob(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
         const CpuOptions& options);

  // The step on every rank; what rank 0 saw. Throws the first rank's error.
  StepResult step(const StepTokens& tokens, const OptimizerStep& optimizer);
  CpuRank<T>& rank(int64_t r) { return *ranks_[static_cast<std::size_t>(r)]; }
  int64_t ranks() const { return static_cast<int64_t>(ranks_.size()); }

 private:
  ThreadCommunicator communicator_;
  std::vector<std::unique_ptr<CpuRank<T>>> ranks_;
};

}  // namespace orrery
