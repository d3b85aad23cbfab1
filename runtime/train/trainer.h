// The training loop: data, learning rate, steps, what they report, checkpoints and when to stop.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "runtime/executor.h"
#include "runtime/train/checkpoints.h"
#include "runtime/train/data.h"
#include "runtime/train/job_channel.h"
#include "runtime/train/step_log.h"

namespace orrery {

struct TrainerOptions {
  // Stops after this step; the learning rate follows TrainingSpec::steps all the same.
  int64_t last_step = 0;
  bool resume = false;
  std::string metrics_path;    // "": no metrics are written
  double peak_flops = 0;       // per second, of all devices of the job together; 0: not known
  bool require_finite = true;  // false where numbers mean nothing: a fake process group
  std::optional<std::chrono::steady_clock::time_point> stop_at;  // after the step that is running

  // Called by the process that has rank 0, but for `interrupted`, which every process asks itself.
  std::function<void(const std::string&)> row = [](const std::string&) {};  // of the step table
  std::function<void(const std::string&)> note = [](const std::string&) {};
  std::function<void(const std::string&)> warn = [](const std::string&) {};
  std::function<void(int64_t)> progress = [](int64_t) {};  // steps done since the start
  std::function<bool()> interrupted = [] { return false; };
};

enum class TrainEnd : uint8_t { kFinished, kTimeout, kInterrupted };

struct TrainResult {
  TrainEnd end = TrainEnd::kFinished;
  int64_t first_step = 1, last_step = 0;  // that were run; none: last is below first
  StepResult last;
  std::string checkpoint;  // the newest folder; "": none
};

// Trains to options.last_step, with a checkpoint every CheckpointSpec::every steps and after the
// last one. A loss or gradient norm that is not finite ends it, where that is required, with Error
// (kFailure) that names the step, before anything is saved.
TrainResult train(const TrainingTask& task, Executor& executor, const TrainingData& data,
                  const JobChannel& channel, const TrainerOptions& options);

}  // namespace orrery
