#include "sim/calibrate/robust.h"

#include <algorithm>
#include <cmath>

namespace orrery {

double mad_sigma(const std::vector<double>& x) {
  const double middle = median(x);
  std::vector<double> away;
  for (const double v : x) away.push_back(std::abs(v - middle));
  return 1.4826 * median(away);
}

std::vector<std::size_t> outliers(const std::vector<double>& x, double sigmas, double floor) {
  std::vector<std::size_t> found;
  if (x.empty()) return found;
  const double middle = median(x);
  const double limit = std::max(floor, sigmas * mad_sigma(x));
  for (std::size_t i = 0; i < x.size(); ++i)
    if (std::abs(x[i] - middle) > limit) found.push_back(i);
  return found;
}

}  // namespace orrery
