// Which constants of a GPU's profile the compute time of a step comes from.
#pragma once

#include <array>

#include "sim/exec/sim_timing.h"

namespace orrery {

// Shares of the time of all compute kernels of one step, each alone on its GPU, by the family whose
// rate constants it comes from; the rest (1 less their sum) is timed by the stack's profile.
using RateShares = std::array<double, kRateFamilies>;

// O(ops of the plan).
RateShares rate_shares(const ExecPlan& plan, const PlanTiming& timing, const GraphConfig& graph);

// Whether a rate of the family (efficiency, or the peak or bandwidth that it is a fraction of) is
// assumed: guessed, or set on the command line.
bool rate_is_assumed(const GpuSpec& gpu, const StackSpec& stack, int family);

// Held-out points of the GPU's own calibration for the kernels that the stack runs; {}: none.
HeldOutErrors held_out_errors(const GpuSpec& gpu, const StackSpec& stack, int family);

}  // namespace orrery
