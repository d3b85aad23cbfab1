#pragma once

#include <algorithm>
#include <vector>

namespace orrery {

// Of at least one value; the mean of the middle two of an even number.
inline double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  const std::size_t n = x.size();
  return n % 2 == 1 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

}  // namespace orrery
