#include "kernels/attention/attention_merge.h"
#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"

namespace orrery::kernels {
namespace {

// An item is one vector of the output; the first of a head also writes the log-sum-exp.
__global__ void __launch_bounds__(kItemThreads)
    merge_kernel(const __grid_constant__ AttentionMergeParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.d_v / kVec);
  const uint32_t head = item / chunks;  // of all rows
  float largest = -INFINITY, sum = 0;
  for (int i = 0; i < p.parts; ++i) largest = fmaxf(largest, p.lses[i][head]);
  for (int i = 0; i < p.parts; ++i) sum += expf(p.lses[i][head] - largest);
  const float lse = largest + logf(sum);
  float out[kVec] = {};
  for (int i = 0; i < p.parts; ++i) {
    const float weight = expf(p.lses[i][head] - lse);
    float x[kVec];
    load8(p.outs[i] + static_cast<int64_t>(item) * kVec, x);
#pragma unroll
    for (int j = 0; j < kVec; ++j) out[j] = fmaf(weight, x[j], out[j]);
  }
  store8(p.out + static_cast<int64_t>(item) * kVec, out);
  if (item % chunks == 0) p.lse[head] = lse;
}

}  // namespace

Status attention_merge(const AttentionMergeParams& p, cudaStream_t stream) {
  constexpr const char* kName = "attention_merge";
  const bool empty = p.rows == 0 || p.heads == 0 || p.d_v == 0;
  Status bad =
      check(kName, {{p.rows >= 0 && p.heads >= 0, "rows or heads is negative"},
                    {p.d_v >= 0 && p.d_v % kVec == 0, "d_v is not a multiple of 8"},
                    {p.parts >= 1 && p.parts <= kMaxMergedParts, "parts is not within 1 to 64"},
                    {empty || p.heads * (p.d_v / kVec) <= kMaxItems / p.rows,
                     "rows · heads · d_v is above 2^34"},
                    {empty || (p.out && p.lse), "out or lse is null"},
                    {aligned(p.out), "out is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  for (int i = 0; i < p.parts; ++i)
    if (Status s = check(kName, {{p.outs[i] && p.lses[i], "a part's out or lse is null"},
                                 {aligned(p.outs[i]), "a part's out is not 16-byte aligned"}});
        !s.ok())
      return s;
  const int64_t items = p.rows * p.heads * (p.d_v / kVec);
  merge_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(items));
  return launched(kName);
}

}  // namespace orrery::kernels
