// Kernels of one thread per item (8 elements, usually).
#pragma once

#include <cstdint>

namespace orrery::kernels {

constexpr int kItemThreads = 256;
// Items are counted in 32 bits, which makes the divisions that find an item's row cheap.
constexpr int64_t kMaxItems = INT32_MAX;

inline unsigned item_blocks(int64_t items) {
  return static_cast<unsigned>((items + kItemThreads - 1) / kItemThreads);
}

__device__ inline uint32_t item_index() { return blockIdx.x * kItemThreads + threadIdx.x; }

}  // namespace orrery::kernels
