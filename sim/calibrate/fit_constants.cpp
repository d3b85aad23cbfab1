#include "sim/calibrate/fit_constants.h"

namespace orrery {

double four_digits(double x) {
  if (x == 0) return 0;
  double unit = 1;
  while (std::abs(x) * unit < 1000 && unit < 1e9) unit *= 10;
  double scale = 1;
  while (std::abs(x) / scale >= 10000) scale *= 10;
  return std::round(x * unit / scale) * scale / unit;
}

double point_loss(double predicted, double measured) {
  constexpr double kSmallError = 0.03;
  const double e = std::max(predicted / measured, measured / predicted) - 1;
  const double x = e / kSmallError;
  return std::sqrt(1 + x * x) - 1;
}

}  // namespace orrery
