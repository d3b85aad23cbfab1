#include "sim/calibrate/summary.h"

#include <algorithm>
#include <cmath>

#include "sim/calibrate/robust.h"

namespace orrery {

ClassErrors summarise(const ClassFit& f, const Measured& m, Part part, bool of_base) {
  std::vector<double> sizes;
  ClassErrors s;
  for (const PointError& p : f.points) {
    if (part != Part::kAll && p.held_out != (part == Part::kHeldOut)) continue;
    const double us = m.points[p.point].median_us();
    const double e = of_base ? p.base_error(us) : p.error(us);
    sizes.push_back(std::abs(e));
    s.bias += e;
    s.rms_ln += std::pow(std::log1p(e), 2);
  }
  s.count = sizes.size();
  if (sizes.empty()) return s;
  s.bias /= static_cast<double>(sizes.size());
  s.rms_ln = std::sqrt(s.rms_ln / static_cast<double>(sizes.size()));
  s.median = median(sizes);
  s.largest = *std::max_element(sizes.begin(), sizes.end());
  return s;
}

}  // namespace orrery
