// Number of (token, slot) pairs that chose each expert.
#pragma once

#include <cstdint>

#include "kernels/moe/layout_view.h"

namespace orrery::kernels {

constexpr int kCountThreads = 512;
constexpr int kCountExperts = 8;  // of a block, which reads the ids of all tokens

// out[e] = pairs, or with kAccumulate out[e] += pairs. Grid: ceil(experts / kCountExperts).
template <bool kAccumulate, class Out>
__global__ void __launch_bounds__(kCountThreads)
    expert_count_kernel(uint32_t pairs, uint32_t k, int32_t experts, const int32_t* routing,
                        Out* out) {
  __shared__ int32_t count[kCountExperts];
  if (threadIdx.x < kCountExperts) count[threadIdx.x] = 0;
  __syncthreads();
  const int32_t first = static_cast<int32_t>(blockIdx.x) * kCountExperts;
  for (uint32_t i = threadIdx.x; i < pairs; i += kCountThreads) {
    const uint32_t token = i / k, slot = i % k;
    const int32_t id = routing[static_cast<int64_t>(token) * kRoutingWords * k + slot] - first;
    if (id >= 0 && id < kCountExperts) atomicAdd(&count[id], 1);
  }
  __syncthreads();
  const int32_t e = first + static_cast<int32_t>(threadIdx.x);
  if (threadIdx.x >= kCountExperts || e >= experts) return;
  const Out counted = static_cast<Out>(count[threadIdx.x]);
  out[e] = kAccumulate ? out[e] + counted : counted;
}

inline unsigned expert_count_blocks(int64_t experts) {
  return static_cast<unsigned>((experts + kCountExperts - 1) / kCountExperts);
}

}  // namespace orrery::kernels
