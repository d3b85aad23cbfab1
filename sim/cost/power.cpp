#include "sim/cost/power.h"

namespace orrery {

double clock_fraction(const PowerSpec& power, double pJ_per_FLOP, FlopsPerSecond at_full_clock) {
  const double dynamic_W = pJ_per_FLOP * 1e-12 * at_full_clock.count();
  const double budget_W = power.limit_W.value - power.static_W.value;
  if (power.limit_W.value <= 0 || dynamic_W <= budget_W) return 1;
  // Cube root by Newton's method from above: the same bits everywhere, unlike libm's.
  const double cube = budget_W / dynamic_W;
  double f = 1;
  for (int i = 0; i < 40; ++i) f = (2 * f + cube / (f * f)) / 3;
  return f;
}

double throttled_seconds(const PowerSpec& power, double pJ_per_FLOP, Flops flops, double seconds) {
  if (seconds <= 0) return 0;
  return seconds / clock_fraction(power, pJ_per_FLOP, FlopsPerSecond(flops.count() / seconds));
}

}  // namespace orrery
