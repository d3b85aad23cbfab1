// From an experiment to its predicted cost.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/exec/sim_backend.h"
#include "sim/exec/verified_plans.h"
#include "sim/study/experiment.h"
#include "sim/study/interval.h"
#include "sim/study/memory.h"
#include "sim/study/noise.h"

namespace orrery {

// A number per way of counting attention FLOPs.
struct PerMask {
  double causal = 0;
  double non_causal = 0;
};

// Where the step goes, mean over the pipeline ranks, in picoseconds. Parts sum to the step exactly
// (the remainder of the division is in the bubble).
struct Breakdown {
  Picos forward, backward, backward_input, weight, overlapped_pairs, bubble, optimizer;
  // Parts of the above in which the compute stream waits for communication, by kernel class.
  Picos exposed[kKernelClasses];
  Picos host;  // and in which it waits for the host to issue what comes next (HostSpec)
};

struct StageMemory {
  int rank = 0;  // pipeline rank
  std::vector<int> stages;
  ClassMemory memory;
  Bytes host{0};  // in host memory
  std::string peak_op;
};

struct PhaseCost {
  std::string name;
  double tokens = 0;
  double gpu_hours = 0;
  double days = 0;
  double cost_usd = 0;
  std::string confidence;  // "simulated" or "extrapolated"
  std::string note;
  bool simulated() const { return confidence == "simulated"; }
};

struct Prediction {
  StudySpec study;
  ParameterCount parameters;
  ModelFlops flops_per_token;
  ExecPlan plan;
  StepTrace trace;
  Breakdown breakdown;
  std::vector<Breakdown> per_rank;
  std::vector<StageMemory> memory;
  MemoryVerdict verdict;
  std::vector<MemoryAdvice> advice;  // when the plan does not fit
  std::optional<NoiseReport> noise;  // when the experiment has noise; `trace` is with all of it
  double step_time_s = 0;
  double tokens_per_step = 0;
  double tokens_per_s_per_gpu = 0;
  double tokens_per_day_B = 0;
  PerMask tflops_per_gpu;
  PerMask mfu;  // tflops_per_gpu over the BF16 dense peak
  std::vector<PhaseCost> phases;
  double gpu_hours = 0;
  double days = 0;
  double cost_usd = 0;
  std::vector<std::string> warnings;
  PredictionInterval interval;  // of the step's time and the highest peak of memory
  double row_load = 1;          // factor on expert compute for uneven loads (sim/study/skew.h)
  int64_t ops = 0;              // op instances of one step over the rank classes
};

// A figure that is there with a replayed allocator: the most that PyTorch's allocator, as the stack
// sets it, reserves on the fullest rank (torch.cuda.max_memory_reserved).
constexpr std::string_view kReservedMemory = "reserved_memory_GiB";

struct PredictOptions {
  Folding folding = Folding::kFolded;
  bool record = false;
  bool fast_forward = true;                        // see SimOptions
  std::function<void(int64_t, int64_t)> progress;  // see SimOptions
  CollectiveTier collectives = CollectiveTier::kFormula;
  bool allow_oom = false;         // report a plan that does not fit instead of refusing it
  bool replay_allocator = false;  // on the fullest rank
  // That and, when the plan does not fit, simulates changes.
  bool explain_memory = false;
  VerifiedPlans* verified = nullptr;  // of other predictions; null: the plan is verified anyway
};

// Compiles, verifies and simulates one step and prices the phases. Throws Infeasible when the plan
// deadlocks or does not fit in memory (naming rank, op at the peak and what to change).
Prediction predict(const StudySpec& study, const PredictOptions& options);

// The plan of a study and its timing, for callers that simulate parts of it.
struct CompiledStudy {
  GraphConfig graph;
  ExecPlan plan;
  PlanTiming timing;
  double row_load;  // see sim/study/skew.h
};
CompiledStudy compile_study(const StudySpec& study,
                            CollectiveTier collectives = CollectiveTier::kFormula);
SimOptions sim_options(const StudySpec& study);

}  // namespace orrery
