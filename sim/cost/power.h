// The clock that the power limit leaves.
//
// Switching in the tensor cores takes pJ_per_FLOP at full clock and voltage. Voltage follows the
// clock nearly linearly in the upper half of its range, so energy per operation goes with its
// square. HBM has a clock of its own: a byte takes pJ_per_byte at any. The limit holds for an
// average over tenths of a second, so all kernels that run within it share one clock, the fraction
// f of the full one at which
//   static_W * T(f) + f^2 * switching_J + hbm_J = limit_W * T(f),  T(f) = steady_s + clocked_s / f,
// or 1 when the limit is never reached: sums over the kernels, T split into what the clock drives
// (tensor cores, exponentials) and what it does not (HBM, starts, gaps). A kernel launched over and
// over by itself, as benchmarks do, is the case of a sum over one.
//
// Kernels whose energy is not known have efficiencies that hold their clock; where that of HBM
// traffic is not, what a step draws on average is not either, and each kernel gets its own clock.
//
// A kernel that HBM keeps waiting may run its tensor cores slower without taking longer, so its
// time is the larger of what the tensor cores need by themselves at that clock and what HBM needs;
// time never grows with bandwidth then.
//
// Random data on one A100 at 400 W make an 8192^3 product 13 % slower than zeros do (257 and 295
// TFLOP/s, thonking.ai, "Strangely, matrix multiplications", 2024) and a copy of it at 300 W (PCIe)
// slower again: 230, where the constant fitted on the first pair gives 227. On one H200 zeros are
// 13 % faster than random data as well.
// Ignored: the seconds for which a GPU may exceed its limit; temperature, spread between chips;
// smaller energy for data that are not random (gradients with many zeros).
#pragma once

#include "sim/cost/roofline.h"

namespace orrery {

// Of kernels that share a clock, at the full one.
struct KernelEnergy {
  double switching_J = 0, hbm_J = 0;
  double clocked_s = 0, steady_s = 0;

  void add(const KernelEnergy& k, double launches) {
    switching_J += launches * k.switching_J, hbm_J += launches * k.hbm_J;
    clocked_s += launches * k.clocked_s, steady_s += launches * k.steady_s;
  }
};

// In (0, 1]. 1 without a limit, without an energy, or where the clock drives nothing.
double clock_fraction(const PowerSpec& power, const KernelEnergy& kernels);

// Of tensor-core work that takes `seconds` at full clock: at share.clock, or at the clock at which
// it runs alone.
double throttled_seconds(const PowerSpec& power, double pJ_per_FLOP, Flops flops, Bytes hbm,
                         double seconds, const GpuShare& share);

}  // namespace orrery
