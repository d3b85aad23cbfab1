// Which constants of a GPU profile the points of a class of kernels determine, and between what
// bounds.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sim/calibrate/fit_constants.h"
#include "sim/calibrate/measured.h"

namespace orrery {

struct FittedClass {
  std::string name;
  std::function<bool(const MeasuredPoint&)> takes;
  std::function<bool(const GpuSpec&)> known;  // whether the profile has such kernels at all
  std::vector<FreeConstant<GpuSpec>> constants;
  FreeConstant<GpuSpec> energy;  // pJ_per_FLOP, from the clocks; no `of`: none
};

// In the order in which they are to be fitted. Memory-bound kernels: the efficiency of their
// pattern, and streams, which come first, kernel_fixed_us; GEMMs: mainloop_efficiency,
// tile_overhead_us, hbm_efficiency; attention: mainloop_efficiency, softmax_us, tile_overhead_us,
// tail, from heads at least 96 wide. A profile has one set of constants for all heads, and narrower
// ones run other kernels: they are only checked. Efficiencies are those at the full clock, for
// points are predicted at the clock that was counted beside them; pJ_per_FLOP follows from these
// clocks alone. From a file without clocks it stays, and points are predicted at the clocks that it
// gives: at one power limit a lower clock looks like a lower mainloop_efficiency.
const std::vector<FittedClass>& kernel_classes();

}  // namespace orrery
