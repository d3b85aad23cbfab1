#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/rope/rope.h"

namespace orrery::kernels {
namespace {

__device__ void rotate(float& a, float& b, float cos, float sin) {
  const float first = a;
  a = first * cos - b * sin;
  b = b * cos + first * sin;
}

// Cosines and sines of kPairs neighbouring pairs; kPairs is even, entries 16-byte aligned.
template <int kPairs>
__device__ void load_entries(const float2* table, bool inverse, float (&cos)[kPairs],
                             float (&sin)[kPairs]) {
#pragma unroll
  for (int i = 0; i < kPairs; i += 2) {
    const float4 two = *reinterpret_cast<const float4*>(table + i);
    cos[i] = two.x, cos[i + 1] = two.z;
    sin[i] = inverse ? -two.y : two.y, sin[i + 1] = inverse ? -two.w : two.w;
  }
}

// The rotated columns of head `head`, counted over all rows, which is in row `row`.
__device__ bf16* head_columns(const RopeParams& p, uint32_t head, uint32_t row) {
  const uint32_t in_row = head - row * static_cast<uint32_t>(p.heads);
  return p.x + row * p.row_stride + in_row * p.width + p.column;
}

// An item is 4 pairs of neighbours: one 16-byte vector.
__global__ void __launch_bounds__(kItemThreads) interleaved_kernel(RopeParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.n / kVec);
  const uint32_t head = item / chunks, chunk = item % chunks;
  const uint32_t row = head / static_cast<uint32_t>(p.heads);
  const int64_t position = row % static_cast<uint32_t>(p.seq_len);
  bf16* x = head_columns(p, head, row) + chunk * kVec;
  float v[kVec], cos[kVec / 2], sin[kVec / 2];
  load8(x, v);
  load_entries(p.table + position * (p.n / 2) + chunk * (kVec / 2), p.inverse, cos, sin);
#pragma unroll
  for (int i = 0; i < kVec / 2; ++i) rotate(v[2 * i], v[2 * i + 1], cos[i], sin[i]);
  store8(x, v);
}

// An item is 8 pairs: a vector of the first half and its counterpart of the second half.
__global__ void __launch_bounds__(kItemThreads) half_kernel(RopeParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.n / (2 * kVec));
  const uint32_t head = item / chunks, chunk = item % chunks;
  const uint32_t row = head / static_cast<uint32_t>(p.heads);
  const int64_t position = row % static_cast<uint32_t>(p.seq_len);
  bf16* first = head_columns(p, head, row) + chunk * kVec;
  bf16* second = first + p.n / 2;
  float a[kVec], b[kVec], cos[kVec], sin[kVec];
  load8(first, a);
  load8(second, b);
  load_entries(p.table + position * (p.n / 2) + chunk * kVec, p.inverse, cos, sin);
#pragma unroll
  for (int i = 0; i < kVec; ++i) rotate(a[i], b[i], cos[i], sin[i]);
  store8(first, a);
  store8(second, b);
}

}  // namespace

Status rope(const RopeParams& params, cudaStream_t stream) {
  RopeParams p = params;
  if (p.row_stride == 0) p.row_stride = p.heads * p.width;
  const bool half = p.style == RopeStyle::kHalf;
  const int64_t elements = half ? 2 * kVec : kVec;  // of an item
  const bool empty = p.rows == 0 || p.heads == 0 || p.n == 0;
  Status bad = check(
      "rope", {{p.rows >= 0 && p.rows <= kMaxItems, "rows is negative or above 2^31 - 1"},
               {p.heads >= 0 && p.heads <= kMaxItems, "heads is negative or above 2^31 - 1"},
               {p.n >= 0 && p.n % elements == 0,
                half ? "n is not a multiple of 16" : "n is not a multiple of 8"},
               {p.width % kVec == 0, "width is not a multiple of 8"},
               {p.column >= 0 && p.column % kVec == 0, "column is not a multiple of 8"},
               {p.column + p.n <= p.width, "column + n is above width"},
               {p.row_stride % kVec == 0 && p.row_stride >= p.heads * p.width,
                "row_stride is below heads * width or not a multiple of 8"},
               {empty || (p.seq_len > 0 && p.seq_len <= kMaxItems), "seq_len is not positive"},
               {empty || (p.table && p.x), "table or x is null"},
               {aligned(p.table) && aligned(p.x), "table or x is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  if (p.heads * (p.n / elements) > kMaxItems / p.rows)
    return failed("rope: rows · heads · n is above 2^34");
  const int64_t items = p.rows * p.heads * (p.n / elements);
  const auto kernel = half ? half_kernel : interleaved_kernel;
  kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(items));
  return launched("rope");
}

}  // namespace orrery::kernels
