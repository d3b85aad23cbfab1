// Maps between tensors of heads: slices, concatenation, sums over heads.
#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/elementwise/elementwise.h"

namespace orrery::kernels {
namespace {

// An item is one vector of the output.
__global__ void __launch_bounds__(kItemThreads)
    copy_slice_kernel(CopySliceParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.width / kVec);
  const uint32_t head = item / chunks, chunk = item % chunks;
  reinterpret_cast<uint4*>(p.out)[item] =
      reinterpret_cast<const uint4*>(p.x + head * p.in_width + p.column)[chunk];
}

// An item is one vector of the output.
__global__ void __launch_bounds__(kItemThreads)
    concat_heads_kernel(ConcatHeadsParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t a_chunks = static_cast<uint32_t>(p.a_width / kVec);
  const uint32_t chunks = a_chunks + static_cast<uint32_t>(p.b_width / kVec);
  const uint32_t head = item / chunks, chunk = item % chunks;
  const bf16* from;
  if (chunk < a_chunks) {
    from = p.a + head * p.a_from + chunk * kVec;
  } else {
    const uint32_t row = p.broadcast_b ? head / static_cast<uint32_t>(p.heads) : head;
    from = p.b + row * p.b_from + (chunk - a_chunks) * kVec;
  }
  reinterpret_cast<uint4*>(p.out)[item] = *reinterpret_cast<const uint4*>(from);
}

// An item is one vector of the output, summed over the heads in order.
__global__ void __launch_bounds__(kItemThreads)
    reduce_heads_kernel(ReduceHeadsParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.width / kVec);
  const uint32_t row = item / chunks, chunk = item % chunks;
  const bf16* x = p.x + row * p.heads * p.in_width + p.column + chunk * kVec;
  float sum[kVec] = {};
#pragma unroll 8
  for (int64_t h = 0; h < p.heads; ++h) {
    float v[kVec];
    load8(x + h * p.in_width, v);
#pragma unroll
    for (int j = 0; j < kVec; ++j) sum[j] += v[j];
  }
  store8(p.out + static_cast<int64_t>(item) * kVec, sum);
}

// What copy_slice and reduce_heads ask of their arguments.
template <class Params>
Status check_slice(const char* kernel, const Params& p) {
  const bool empty = p.rows == 0 || p.heads == 0 || p.width == 0;
  return check(kernel,
               {{p.rows >= 0 && p.rows <= kMaxItems, "rows is negative or above 2^31 - 1"},
                {p.heads >= 0 && p.heads <= kMaxItems, "heads is negative or above 2^31 - 1"},
                {p.in_width % kVec == 0, "in_width is not a multiple of 8"},
                {p.column >= 0 && p.column % kVec == 0, "column is not a multiple of 8"},
                {p.width >= 0 && p.width % kVec == 0, "width is not a multiple of 8"},
                {p.column + p.width <= p.in_width, "column + width is above in_width"},
                {p.rows == 0 || p.heads * (p.in_width / kVec) <= kMaxItems / p.rows,
                 "rows · heads · in_width is above 2^34"},
                {empty || (p.x && p.out), "x or out is null"},
                {aligned(p.x) && aligned(p.out), "x or out is not 16-byte aligned"}});
}

}  // namespace

Status copy_slice(const CopySliceParams& p, cudaStream_t stream) {
  Status bad = check_slice("copy_slice", p);
  const int64_t items = p.rows * p.heads * (p.width / kVec);
  if (!bad.ok() || items == 0) return bad;
  copy_slice_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p,
                                                                     static_cast<uint32_t>(items));
  return launched("copy_slice");
}

Status concat_heads(const ConcatHeadsParams& p, cudaStream_t stream) {
  const int64_t width = p.a_width + p.b_width;
  const bool empty = p.rows == 0 || p.heads == 0 || width == 0;
  Status bad = check(
      "concat_heads",
      {{p.rows >= 0 && p.rows <= kMaxItems, "rows is negative or above 2^31 - 1"},
       {p.heads >= 0 && p.heads <= kMaxItems, "heads is negative or above 2^31 - 1"},
       {p.a_width >= 0 && p.a_width % kVec == 0, "a_width is not a multiple of 8"},
       {p.b_width >= 0 && p.b_width % kVec == 0, "b_width is not a multiple of 8"},
       {p.a_from >= p.a_width && p.a_from % kVec == 0,
        "a_from is below a_width or not a multiple of 8"},
       {p.b_from >= p.b_width && p.b_from % kVec == 0,
        "b_from is below b_width or not a multiple of 8"},
       {p.rows == 0 || p.heads * (width / kVec) <= kMaxItems / p.rows,
        "rows · heads · (a_width + b_width) is above 2^34"},
       {empty || p.a_width == 0 || p.a, "a is null"},
       {empty || p.b_width == 0 || p.b, "b is null"},
       {empty || p.out, "out is null"},
       {aligned(p.a) && aligned(p.b) && aligned(p.out), "a, b or out is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  const int64_t items = p.rows * p.heads * (width / kVec);
  concat_heads_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(
      p, static_cast<uint32_t>(items));
  return launched("concat_heads");
}

Status reduce_heads(const ReduceHeadsParams& p, cudaStream_t stream) {
  Status bad = check_slice("reduce_heads", p);
  if (bad.ok() && p.heads == 0) return failed("reduce_heads: heads is 0");
  const int64_t items = p.rows * (p.width / kVec);
  if (!bad.ok() || items == 0) return bad;
  reduce_heads_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(
      p, static_cast<uint32_t>(items));
  return launched("reduce_heads");
}

}  // namespace orrery::kernels
