// What a launch of an op draws, and how much of its time goes with the clock: the terms of
// sim/cost/power.h.
#pragma once

#include "sim/cost/power.h"
#include "sim/exec/sim_timing.h"

namespace orrery {

// Of a compute op alone on the whole GPU, with the gap before the next launch; in.clock does not
// matter.
KernelEnergy op_energy(const Op& op, TimingInput in);

}  // namespace orrery
