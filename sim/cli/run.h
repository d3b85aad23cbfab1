// `orrery run` in parts: what the command line says, and the device that it chooses.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/executor.h"
#include "runtime/train/job_channel.h"
#include "runtime/train/trainer.h"
#include "sim/base/error.h"
#include "sim/study/experiment.h"

namespace orrery {

struct RunArguments {
  std::string experiment;
  std::vector<std::string> overrides;
  std::string device = "cuda";
  int64_t steps = 0;  // 0: those of the experiment
  int ranks = 0;      // 0: not given
  int ranks_per_gpu = 1;
  double timeout_s = 0, comm_timeout_s = 0;  // 0: not given
  std::string out, trace, load, save, gradients;
  std::string progress = "auto";
  bool resume = false, quiet = false;
  bool fake_process_group = false;
  int64_t rank = 0;  // the one that runs with a fake process group

  std::string in_out(const char* file) const;  // "" without --out
  std::string trace_path() const;              // "": no trace
};

// What the ranks of this process run on.
struct RunDevice {
  std::string name;
  std::shared_ptr<void> connection;  // to the other processes; outlives the executor
  std::unique_ptr<Executor> executor;
  JobChannel channel;
  double peak_flops = 0;  // BF16, of all devices of the job together; 0: not known
  // One of them, last: so that the other processes know how this one ends.
  std::function<void()> finish = [] {};
  std::function<void(const Error&)> fail = [](const Error&) {};  // may end the process
};

// Throws kUsage when the job has not the plan's number of ranks, naming both and how to start it.
void check_world_size(const PlanSpec& plan, int64_t ranks, const std::string& found);

// Trains, and writes what the arguments ask for unless the training was stopped early.
TrainResult run_job(const RunArguments& a, const StudySpec& study, const ExecPlan& plan,
                    const GraphConfig& config, RunDevice& device);

// For --ranks: starts them and waits; returns their exit code, or -1 when this process is itself a
// rank. Throws kUnavailable when orrery was built without CUDA.
int start_cuda_ranks(const RunArguments& a, const StudySpec& study);
// This process's rank on its GPU. Throws kUnavailable without one.
RunDevice open_cuda(const RunArguments& a, const StudySpec& study, const ExecPlan& plan,
                    const GraphConfig& config, const Numerics& numerics,
                    const ExecutorOptions& options);

}  // namespace orrery
