#include "sim/cost/roofline.h"

#include <algorithm>

namespace orrery {

GpuShare whole_gpu(const GpuSpec& gpu) {
  return {.sms = static_cast<int64_t>(gpu.sm_count.value), .hbm_fraction = 1};
}

FlopsPerSecond sm_peak(const GpuSpec& gpu, double peak_TFLOPS) {
  return from_TFLOPS(peak_TFLOPS / gpu.sm_count.value);
}

double fixed_seconds(double us, const GpuShare& share) {
  return us * 1e-6 / (share.clock > 0 ? share.clock : 1);
}

double hbm_seconds(const GpuSpec& gpu, Bytes bytes, double efficiency, const GpuShare& share) {
  const double GBps = gpu.hbm_bandwidth_GBps.value * efficiency * share.hbm_fraction;
  return transfer_seconds(bytes, from_GBps(GBps));
}

double memory_seconds(const GpuSpec& gpu, Bytes bytes, double efficiency, const GpuShare& share) {
  const double hbm = hbm_seconds(gpu, bytes, efficiency, share);
  if (share.in_l2 <= 0 || gpu.l2_bandwidth_GBps.value <= 0) return hbm;
  const double clock = share.clock > 0 ? share.clock : 1;
  const double l2 = transfer_seconds(bytes, from_GBps(gpu.l2_bandwidth_GBps.value * clock));
  return std::min(hbm, std::max((1 - share.in_l2) * hbm, l2));
}

}  // namespace orrery
