// A bounded minimiser for the two to five constants of a kernel class. Deterministic: no random
// numbers and nothing of libm, so that a file gives the same constants everywhere.
//
// Every point of a coarse grid is tried; from the best few a pattern search tries all neighbours
// (in every combination of directions), takes the best and halves its step when none is better.
// Kernel times have flat places and steps (waves of tiles), on which gradients would stop.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace orrery {

struct Bound {
  double min = 0, max = 1;
  bool fine_near_min = false;  // grid and steps grow with the square of the distance from min
};

struct Minimum {
  std::vector<double> x;
  double loss = 0;
  // Whether the loss grows by `worse` when the value alone moves a fifth of itself (3 % of its
  // range if that is more), either way: what the data do not determine is not measured.
  std::vector<bool> determined;
  std::vector<bool> at_bound;
};

// O(grid^n + steps · 3^n) calls of `loss` for n bounds, n at most 6. `start` is tried too.
Minimum minimise(const std::function<double(std::span<const double>)>& loss,
                 std::span<const Bound> bounds, std::span<const double> start, double worse);

}  // namespace orrery
