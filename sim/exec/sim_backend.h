// Runs an ExecPlan in simulated time.
#pragma once

#include <functional>

#include "sim/exec/sim_noise.h"
#include "sim/exec/sim_timing.h"
#include "sim/exec/trace.h"

namespace orrery {

enum class Folding : uint8_t {
  kFolded,    // one rank stands for its class
  kSampled,   // SimNoise::ranks of each class run, and meet in all its collectives
  kUnfolded,  // every rank runs
};

// Spread of the expert rows between ranks: every (rank, layer, micro-batch) draws its load from a
// normal distribution around 1. Deterministic: a hash of the indices, no library distribution.
struct ExpertLoad {
  double cv = 0;
  uint64_t seed = 0;
  double factor(int64_t replica, int layer, uint32_t call, Role role) const;
};

struct SimOptions {
  Folding folding = Folding::kFolded;
  bool record = false;  // keep OpRecords and memory timelines (of each class's first rank)
  // Slot events that nobody in the plan records count as reached (for a pair on its own).
  bool assume_inputs = false;
  // Skip whole cycles of the steady state; the result is the same (sim/exec/sim_fast_forward.h).
  bool fast_forward = true;
  // Simulate one of two classes that are mirror images; the same result (sim/exec/plan_mirror.h).
  bool mirror = true;
  Bytes reserved{0};  // held on every GPU beside the plan's buffers
  // The host issues the kernels of a rank one after the other in program order, from the start of
  // the step, at this distance, and never waits for the GPU: a kernel starts no earlier. 0: issued
  // beforehand. Ignored: hosts that stop for a result, launch queues that are full (1024 kernels).
  Picos host_issue{0};
  int64_t gpus_per_node = 8;
  int64_t expert_parallel = 1;
  ExpertLoad load;  // used when its cv is positive
  SimNoise noise;   // used when its ranks are positive: as many as run of each class
  // Called now and then with the ops done and the ops in all.
  std::function<void(int64_t, int64_t)> progress;
};

// O(ops instances · log of nothing): each op is one event of a radix queue. Throws Infeasible when
// the ranks deadlock (verify the plan first for a message that names the cycle).
StepTrace simulate(const ExecPlan& plan, const PlanTiming& timing, const SimOptions& options);

}  // namespace orrery
