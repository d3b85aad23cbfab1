#include "runtime/cpu/cpu_job.h"

#include <exception>
#include <thread>

namespace orrery {

template <class T>
CpuJob<T>::CpuJob(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
                  CpuOptions options, std::optional<int64_t> only) {
  options.fake_group = only.has_value();
  const int64_t first = only.value_or(0), count = only ? 1 : plan.ranks();
  for (int64_t r = first; r < first + count; ++r)
    ranks_.push_back(
        std::make_unique<CpuRank<T>>(plan, config, numerics, r, communicator_, options));
}

template <class T>
StepResult CpuJob<T>::step(const StepTokens& tokens, const OptimizerStep& optimizer) {
  const std::size_t n = ranks_.size();
  std::vector<StepResult> results(n);
  std::vector<std::exception_ptr> errors(n);
  communicator_.begin(static_cast<int64_t>(n));
  {
    std::vector<std::jthread> threads;
    for (std::size_t r = 0; r < n; ++r)
      threads.emplace_back([&, r] {
        try {
          results[r] = ranks_[r]->run_step(tokens, optimizer);
          communicator_.leave();
        } catch (const std::exception& e) {
          errors[r] = std::current_exception();
          communicator_.fail(e.what());
        }
      });
  }
  for (const std::exception_ptr& e : errors)
    if (e) std::rethrow_exception(e);
  return results[0];
}

template class CpuJob<float>;
template class CpuJob<double>;

}  // namespace orrery
