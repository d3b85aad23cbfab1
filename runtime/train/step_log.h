// What a step says about itself: a row of a table for people, a list of metrics for machines.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/executor.h"
#include "runtime/io/metrics.h"

namespace orrery {

struct StepReport {
  int64_t step = 0;
  StepResult result;
  double lr = 0;
  int64_t tokens = 0;  // trained on since the first step, this one included
  double seconds = 0;  // of this step
  DeviceMemory memory;
};

struct StepLogOptions {
  int64_t tokens_per_step = 0;
  double flops_per_step = 0;  // of the model, causal
  bool expert_load = false;   // a column for StepResult::expert_load, of rank 0
  double peak_flops = 0;      // per second, of all devices together; 0: not known, and then no MFU
};

// Mean loss of the multi-token-prediction heads; nothing when there are none.
std::optional<double> mtp_loss(const StepResult& result);

class StepLog {
 public:
  // With a column for the loss of multi-token prediction.
  StepLog(const StepLogOptions& options, bool mtp) : options_(options), mtp_(mtp) {}

  // step, loss, mtp_loss, grad_norm, lr, tokens, step_time_s, tokens_per_s, mfu,
  // expert_load_max_over_mean, memory_GiB (peak of the step), reserved_GiB; those that are not
  // known are left out.
  std::vector<Metric> metrics(const StepReport& r) const;  // without the step
  std::string header() const;
  // The last step's values; tokens per second and MFU are those since the row before.
  void add(const StepReport& r);
  std::string row();

 private:
  std::optional<double> mfu(double seconds_per_step) const;

  StepLogOptions options_;
  bool mtp_;
  StepReport last_;
  int64_t steps_ = 0;
  double seconds_ = 0;
};

}  // namespace orrery
