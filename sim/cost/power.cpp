#include "sim/cost/power.h"

namespace orrery {

double clock_fraction(const PowerSpec& power, const KernelEnergy& k) {
  if (power.limit_W.value <= 0 || k.switching_J <= 0 || k.clocked_s <= 0) return 1;
  // switching f^3 + linear f = clocked.
  const double budget_W = power.limit_W.value - power.static_W.value;
  const double clocked = budget_W * k.clocked_s;
  const double linear = k.hbm_J - budget_W * k.steady_s;
  if (k.switching_J + linear <= clocked) return 1;
  // By Newton's method from above, where the cubic is convex: the same bits everywhere.
  double f = 1;
  for (int i = 0; i < 40; ++i)
    f = (2 * k.switching_J * f * f * f + clocked) / (3 * k.switching_J * f * f + linear);
  return f;
}

double throttled_seconds(const PowerSpec& power, double pJ_per_FLOP, Flops flops, Bytes hbm,
                         double seconds, const GpuShare& share) {
  if (seconds <= 0) return 0;
  if (pJ_per_FLOP <= 0) return seconds;
  if (share.clock > 0) return seconds / share.clock;
  return seconds / clock_fraction(power, {.switching_J = 1e-12 * pJ_per_FLOP * flops.count(),
                                          .hbm_J = 1e-12 * power.pJ_per_byte.value *
                                                   static_cast<double>(hbm.count()),
                                          .clocked_s = seconds});
}

}  // namespace orrery
