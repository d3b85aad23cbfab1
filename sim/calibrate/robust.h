// Statistics that a few wild values do not move, and the checks of a run made of them.
#pragma once

#include <string>
#include <vector>

#include "sim/base/median.h"

namespace orrery {

// Median absolute deviation times 1.4826: the standard deviation, were the values normal.
double mad_sigma(const std::vector<double>& x);

// Indices of the values more than `sigmas` mad_sigma from the median and more than `floor` from it.
// The floor keeps values from being outliers of a sample that hardly spreads.
std::vector<std::size_t> outliers(const std::vector<double>& x, double sigmas, double floor);

}  // namespace orrery
