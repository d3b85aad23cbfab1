// The clock that the power limit leaves.
//
// Switching in the tensor cores takes pJ_per_FLOP at full clock and voltage. Voltage follows the
// clock nearly linearly in the upper half of its range, so energy per operation goes with its
// square and power with its cube. A kernel that would run at R FLOP/s at full clock settles at the
// fraction f of it where
//   static_W + f^3 * pJ_per_FLOP * R = limit_W,
// or at 1 when it never reaches the limit. Whatever the clock drives (tensor cores, exponentials,
// L2) then takes 1 / f as long; HBM has a clock of its own.
//
// A kernel that HBM keeps waiting may run its tensor cores slower without taking longer, so its
// time is the larger of what the tensor cores need by themselves at that clock and what HBM needs;
// time never grows with bandwidth then.
//
// Random data on one A100 at 400 W make an 8192^3 product 13 % slower than zeros do (257 and 295
// TFLOP/s, thonking.ai, "Strangely, matrix multiplications", 2024) and a copy of it at 300 W (PCIe)
// slower again: 230, where the constant fitted on the first pair gives 227. On one H200 zeros are
// 13 % faster than random data as well.
// Ignored: the seconds for which a GPU may exceed its limit; kernels before and after, with which a
// training step shares the milliseconds over which the limit is averaged (so clocks come out low
// where GEMMs are rare); temperature, spread between chips; energy of HBM traffic; smaller energy
// for data that are not random (gradients with many zeros).
#pragma once

#include "sim/cost/roofline.h"

namespace orrery {

// In (0, 1]. 1 without a limit or without an energy.
double clock_fraction(const PowerSpec& power, double pJ_per_FLOP, FlopsPerSecond at_full_clock);

// Of tensor-core work that takes `seconds` at full clock.
double throttled_seconds(const PowerSpec& power, double pJ_per_FLOP, Flops flops, double seconds);

}  // namespace orrery
