#include "sim/cost/roofline.h"

namespace orrery {

GpuShare whole_gpu(const GpuSpec& gpu) {
  return {.sms = static_cast<int64_t>(gpu.sm_count.value), .hbm_fraction = 1};
}

FlopsPerSecond sm_peak(const GpuSpec& gpu, double peak_TFLOPS) {
  return from_TFLOPS(peak_TFLOPS / gpu.sm_count.value);
}

double hbm_seconds(const GpuSpec& gpu, Bytes bytes, double efficiency, const GpuShare& share) {
  const double GBps = gpu.hbm_bandwidth_GBps.value * efficiency * share.hbm_fraction;
  return transfer_seconds(bytes, from_GBps(GBps));
}

}  // namespace orrery
