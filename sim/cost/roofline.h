// What part of a GPU a kernel gets, and the two limits that no kernel beats: the peak of the tensor
// cores of its SMs and the HBM bandwidth left to it.
//
// The models of sim/cost return seconds on the GPU, from a kernel's start to its end. They leave
// out the gap to the next kernel of the stream (GpuSpec::launch_gap_us). Nothing calls libm, so
// results are the same bits on every machine. Shapes and profiles are taken as validated: sizes not
// negative, constants positive.
#pragma once

#include <cstdint>

#include "sim/base/units.h"
#include "sim/spec/hardware.h"

namespace orrery {

// The part of the GPU available to one kernel, for example while communication kernels hold SMs
// and draw on the HBM.
struct GpuShare {
  int64_t sms = 0;          // at least 1
  double hbm_fraction = 1;  // of GpuSpec::hbm_bandwidth_GBps, in (0, 1]
  double clock = 0;         // of the full one, in (0, 1]; 0: what the kernel settles at when alone
  // SMs that a kernel was launched for which does not know that it has fewer; 0: it knows.
  int64_t launched_for = 0;
  // Of the bytes that the kernel moves, the part that it reads from L2.
  double in_l2 = 0;
};

GpuShare whole_gpu(const GpuSpec& gpu);

// FLOP/s of one SM of a GPU whose SMs together reach `peak_TFLOPS`.
FlopsPerSecond sm_peak(const GpuSpec& gpu, double peak_TFLOPS);

// Seconds to move `bytes` to and from HBM at `efficiency` of the bandwidth that is left.
double hbm_seconds(const GpuSpec& gpu, Bytes bytes, double efficiency, const GpuShare& share);

// Of a kernel that waits for memory alone: the same less what it reads from L2, or L2's time for
// all, whichever is longer. L2's rate goes with the clock.
double memory_seconds(const GpuSpec& gpu, Bytes bytes, double efficiency, const GpuShare& share);

// Of what a kernel takes beyond its bytes: starts, dependent loads, barriers, which take so many
// cycles of the SMs and L2. `us` is that at the full clock.
double fixed_seconds(double us, const GpuShare& share);

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }  // a >= 0, b > 0

}  // namespace orrery
