// Stable grouping of items by a small integer key: every item with key >= 0 gets a row; rows of
// lower keys come first, and within a key rows are in the order of items.
//
// Each warp takes a contiguous range of items: group_count counts the keys of every range,
// group_scan turns the counts into first rows, group_rows hands out the rows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/moe/layout_view.h"

namespace orrery::kernels {

constexpr int kGroupWarps = 4;  // ranges of a block
constexpr int64_t kMaxRanges = 1024;
constexpr int64_t kMaxGroups = kMaxExperts;  // counters in shared memory

struct Ranges {
  int64_t items = 0;
  int64_t per_range = 0;  // items, a multiple of 32
  int count = 0;
  int groups = 0;
};

inline Ranges make_ranges(int64_t items, int64_t groups) {
  const int64_t share = (items + kMaxRanges - 1) / kMaxRanges;
  const int64_t per_range = share <= 256 ? 256 : (share + 31) / 32 * 32;
  return {items, per_range, static_cast<int>((items + per_range - 1) / per_range),
          static_cast<int>(groups)};
}

// Bytes of the counts [groups, ranges].
inline int64_t ranges_workspace(const Ranges& r) { return int64_t{4} * r.groups * r.count; }
inline unsigned range_blocks(const Ranges& r) {
  return static_cast<unsigned>((r.count + kGroupWarps - 1) / kGroupWarps);
}

// Keys: int operator()(uint32_t item), in [-1, groups).
template <class Keys>
__global__ void __launch_bounds__(kGroupWarps * 32)
    group_count_kernel(Keys keys, Ranges r, int32_t* counts) {
  __shared__ int32_t counters[kGroupWarps][kMaxGroups];
  const int lane = threadIdx.x % 32;
  const int range = blockIdx.x * kGroupWarps + threadIdx.x / 32;
  if (range >= r.count) return;
  int32_t* counter = counters[threadIdx.x / 32];
  for (int g = lane; g < r.groups; g += 32) counter[g] = 0;
  __syncwarp();
  const int64_t end = min((range + 1) * r.per_range, r.items);
  for (int64_t item = range * r.per_range + lane; item < end; item += 32) {
    const int key = keys(static_cast<uint32_t>(item));
    if (key >= 0) atomicAdd(&counter[key], 1);
  }
  __syncwarp();
  for (int g = lane; g < r.groups; g += 32) counts[g * r.count + range] = counter[g];
}

// counts [groups, ranges] become exclusive sums over the ranges; offsets [groups + 1] exclusive
// sums over the groups, each padded to a multiple of `align`. More rows than `capacity` would be
// written out of bounds: the kernel then ends the process's CUDA work with a message.
void group_scan(const Ranges& r, int align, int64_t capacity, int32_t* counts, int32_t* offsets,
                cudaStream_t stream);

// Emit: void operator()(uint32_t item, int key, int row), row -1 for key -1; called for every item.
template <class Keys, class Emit>
__global__ void __launch_bounds__(kGroupWarps * 32)
    group_rows_kernel(Keys keys, Emit emit, Ranges r, const int32_t* counts,
                      const int32_t* offsets) {
  __shared__ int32_t next_row[kGroupWarps][kMaxGroups];
  const unsigned lane = threadIdx.x % 32;
  const int range = blockIdx.x * kGroupWarps + threadIdx.x / 32;
  if (range >= r.count) return;
  int32_t* next = next_row[threadIdx.x / 32];
  for (int g = static_cast<int>(lane); g < r.groups; g += 32)
    next[g] = offsets[g] + counts[static_cast<int64_t>(g) * r.count + range];
  __syncwarp();
  const int64_t end = min((range + 1) * r.per_range, r.items);
  for (int64_t first = range * r.per_range; first < end; first += 32) {
    const int64_t item = first + lane;
    const int key = item < end ? keys(static_cast<uint32_t>(item)) : -1;
    const unsigned peers = __match_any_sync(0xffffffffu, key);
    const int rank = __popc(peers & ((1u << lane) - 1));
    const int row = key >= 0 ? next[key] + rank : -1;
    __syncwarp();  // all peers have read next[key]
    if (key >= 0 && rank == 0) next[key] += __popc(peers);
    __syncwarp();
    if (item < end) emit(static_cast<uint32_t>(item), key, row);
  }
}

}  // namespace orrery::kernels
