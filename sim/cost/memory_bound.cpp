#include "sim/cost/memory_bound.h"

namespace orrery {

double memory_bound_seconds(const GpuSpec& gpu, AccessPattern pattern, Bytes bytes,
                            const GpuShare& share) {
  const double efficiency = gpu.hbm_efficiency[static_cast<std::size_t>(pattern)].value;
  return fixed_seconds(gpu.kernel_fixed_us.value, share) +
         memory_seconds(gpu, bytes, efficiency, share);
}

}  // namespace orrery
