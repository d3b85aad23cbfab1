// What unequal ranks cost: the same plan simulated without and with each kind of noise.
//
// A few ranks of every pipeline position run (NoiseSpec::simulated_ranks), each with its own
// factors on durations, and meet in every collective; with --unfold all of them do. Of an expert
// group with more ranks than are simulated, one simulated rank has the highest load of the group
// and the others the mean loads of equal parts of the rest, in another order in every layer.
// Ignored: that fewer ranks draw smaller extremes of jitter, and the memory that more rows take.
#pragma once

#include <string>
#include <vector>

#include "sim/exec/sim_backend.h"
#include "sim/study/experiment.h"

namespace orrery {

struct NoiseCost {
  std::string name;  // "expert load (zipf 0.3)"
  Picos step;        // with it alone
};

struct NoiseReport {
  int64_t simulated_ranks = 0;  // of a pipeline position
  Picos without;                // the step of equal ranks, expert loads even
  std::vector<NoiseCost> parts;
};

// Loads of the ranks of an expert group in a layer, mean 1, in the order of the ranks.
std::vector<double> expert_loads(const NoiseSpec& noise, int64_t experts, int64_t expert_parallel,
                                 int layer);

enum class NoisePart : uint8_t { kExpertLoad, kJitter, kSlowRanks, kSlowNodes };
constexpr int kNoiseParts = 4;

// The factors of the parts asked for. Throws Infeasible when a rank or node is not in the plan.
SimNoise sim_noise(const StudySpec& study, const ExecPlan& plan, int64_t ranks,
                   const std::vector<NoisePart>& parts);

// Simulates everything at once into `trace`, and each part on its own.
NoiseReport simulate_noise(const StudySpec& study, const ExecPlan& plan, const PlanTiming& timing,
                           SimOptions options, StepTrace& trace);

}  // namespace orrery
