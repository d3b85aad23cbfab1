#include <cstdio>

#include "kernels/moe/grouping.cuh"

namespace orrery::kernels {
namespace {

__device__ int32_t warp_inclusive_sum(int32_t x) {
  for (int offset = 1; offset < 32; offset *= 2) {
    const int32_t below = __shfl_up_sync(0xffffffffu, x, offset);
    if (threadIdx.x % 32 >= offset) x += below;
  }
  return x;
}

// Exclusive sums of load(i) over i < n, by one warp: store(i, sum); returns the total.
template <class Load, class Store>
__device__ int32_t warp_exclusive_sums(int n, Load load, Store store) {
  const int lane = threadIdx.x % 32;
  int32_t total = 0;
  for (int first = 0; first < n; first += 32) {
    const int i = first + lane;
    const int32_t x = i < n ? load(i) : 0;
    const int32_t upto = warp_inclusive_sum(x);
    if (i < n) store(i, total + upto - x);
    total += __shfl_sync(0xffffffffu, upto, 31);
  }
  return total;
}

constexpr int kScanThreads = 1024;

// One block; a warp per group, then one for the sums over the groups.
__global__ void __launch_bounds__(kScanThreads)
    group_scan_kernel(Ranges r, int align, int64_t capacity, int32_t* counts, int32_t* offsets) {
  __shared__ int32_t rows[kMaxGroups];
  const int lane = threadIdx.x % 32;
  for (int g = threadIdx.x / 32; g < r.groups; g += kScanThreads / 32) {
    int32_t* of_group = counts + static_cast<int64_t>(g) * r.count;
    const int32_t total = warp_exclusive_sums(
        r.count, [=](int i) { return of_group[i]; },
        [=](int i, int32_t sum) { of_group[i] = sum; });
    if (lane == 0) rows[g] = (total + align - 1) / align * align;
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  const int32_t total = warp_exclusive_sums(
      r.groups, [&](int g) { return rows[g]; }, [=](int g, int32_t sum) { offsets[g] = sum; });
  if (lane != 0) return;
  offsets[r.groups] = total;
  if (total <= capacity) return;
  printf("expert_layout: %d rows, the capacity is %lld\n", total, static_cast<long long>(capacity));
  __trap();
}

}  // namespace

void group_scan(const Ranges& r, int align, int64_t capacity, int32_t* counts, int32_t* offsets,
                cudaStream_t stream) {
  group_scan_kernel<<<1, kScanThreads, 0, stream>>>(r, align, capacity, counts, offsets);
}

}  // namespace orrery::kernels
