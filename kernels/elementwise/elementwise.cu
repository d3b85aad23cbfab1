#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/elementwise/elementwise.h"

namespace orrery::kernels {
namespace {

// An item is one vector.
__global__ void __launch_bounds__(kItemThreads) add_kernel(AddParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const int64_t at = static_cast<int64_t>(item) * kVec;
  float sum[kVec] = {};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (k >= p.count) break;
    float v[kVec];
    load8(p.inputs[k] + at, v);
#pragma unroll
    for (int j = 0; j < kVec; ++j) sum[j] += v[j];
  }
  store8(p.out + at, sum);
}

// An item is one vector.
__global__ void __launch_bounds__(kItemThreads) scale_kernel(ScaleParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const int64_t at = static_cast<int64_t>(item) * kVec;
  float v[kVec];
  load8(p.x + at, v);
#pragma unroll
  for (int j = 0; j < kVec; ++j) v[j] *= p.factor;
  store8(p.out + at, v);
}

// An item is one element.
__global__ void __launch_bounds__(kItemThreads)
    scale_fp32_kernel(ScaleFp32Params p, uint32_t items) {
  const uint32_t item = item_index();
  if (item < items) p.out[item] = p.factor * p.x[item];
}

}  // namespace

Status add(const AddParams& p, cudaStream_t stream) {
  const int64_t items = p.n / kVec;
  Status bad = check("add", {{p.n >= 0 && p.n % kVec == 0, "n is not a multiple of 8"},
                             {items <= kMaxItems, "n is above 2^34"},
                             {p.count >= 1 && p.count <= 4, "count is not 1 to 4"},
                             {p.n == 0 || p.out != nullptr, "out is null"},
                             {aligned(p.out), "out is not 16-byte aligned"}});
  if (!bad.ok()) return bad;
  for (int k = 0; k < p.count; ++k)
    if ((p.n > 0 && p.inputs[k] == nullptr) || !aligned(p.inputs[k]))
      return failed("add: inputs[" + std::to_string(k) + "] is null or not 16-byte aligned");
  if (p.n == 0) return {};
  add_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(items));
  return launched("add");
}

Status scale(const ScaleParams& p, cudaStream_t stream) {
  const int64_t items = p.n / kVec;
  Status bad =
      check("scale", {{p.n >= 0 && p.n % kVec == 0, "n is not a multiple of 8"},
                      {items <= kMaxItems, "n is above 2^34"},
                      {p.n == 0 || (p.x && p.out), "x or out is null"},
                      {aligned(p.x) && aligned(p.out), "x or out is not 16-byte aligned"}});
  if (!bad.ok() || p.n == 0) return bad;
  scale_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(items));
  return launched("scale");
}

Status scale_fp32(const ScaleFp32Params& p, cudaStream_t stream) {
  Status bad = check("scale_fp32", {{p.n >= 0 && p.n <= kMaxItems, "n is not within 0 to 2^31 - 1"},
                                    {p.n == 0 || (p.x && p.out), "x or out is null"}});
  if (!bad.ok() || p.n == 0) return bad;
  scale_fp32_kernel<<<item_blocks(p.n), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(p.n));
  return launched("scale_fp32");
}

}  // namespace orrery::kernels
