#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/elementwise/bias.h"

namespace orrery::kernels {
namespace {

// An item is one vector.
__global__ void __launch_bounds__(kItemThreads) add_kernel(AddRowsParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.cols / kVec);
  const uint32_t row = item / chunks, chunk = item % chunks;
  const int64_t at = static_cast<int64_t>(item) * kVec;
  float x[kVec], v[kVec];
  load8(p.x + at, x);
  load8(p.vectors + (p.first + row) % p.period * p.cols + chunk * kVec, v);
#pragma unroll
  for (int j = 0; j < kVec; ++j) x[j] += v[j];
  store8(p.x + at, x);
}

constexpr int kChunks = 8, kRowGroups = 32;  // vectors and groups of rows of a block

// A block sums kChunks vectors of columns over the rows of one residue (y), row group by row group.
__global__ void __launch_bounds__(kChunks* kRowGroups) sum_kernel(AddRowsBackwardParams p) {
  __shared__ float sums[kRowGroups][kChunks * kVec];
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kChunks + threadIdx.x) * kVec;
  const int64_t residue = blockIdx.y;
  const int64_t first = (residue + p.period - p.first % p.period) % p.period;  // of its rows
  float sum[kVec] = {};
  if (column < p.cols)
    for (int64_t r = first + threadIdx.y * p.period; r < p.rows; r += kRowGroups * p.period) {
      float dy[kVec];
      load8(p.dy + r * p.cols + column, dy);
#pragma unroll
      for (int j = 0; j < kVec; ++j) sum[j] += dy[j];
    }
#pragma unroll
  for (int j = 0; j < kVec; ++j) sums[threadIdx.y][threadIdx.x * kVec + j] = sum[j];
  __syncthreads();
  const int c = threadIdx.y * kChunks + threadIdx.x;  // of the block's columns
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kChunks * kVec + c;
  if (c >= kChunks * kVec || at >= p.cols) return;
  float total = 0;
  for (int g = 0; g < kRowGroups; ++g) total += sums[g][c];
  p.grad[residue * p.cols + at] += total;
}

}  // namespace

Status add_rows(const AddRowsParams& p, cudaStream_t stream) {
  const bool empty = p.rows == 0 || p.cols == 0;
  Status bad = check("add_rows",
                     {{p.rows >= 0 && p.cols >= 0, "rows or cols is negative"},
                      {p.cols % kVec == 0, "cols is not a multiple of 8"},
                      {p.period >= 1 && p.first >= 0, "period is not positive or first negative"},
                      {empty || p.cols / kVec <= kMaxItems / p.rows, "rows · cols is above 2^34"},
                      {empty || (p.vectors && p.x), "vectors or x is null"},
                      {aligned(p.vectors) && aligned(p.x), "vectors or x is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  const auto items = static_cast<uint32_t>(p.rows * (p.cols / kVec));
  add_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p, items);
  return launched("add_rows");
}

Status add_rows_backward(const AddRowsBackwardParams& p, cudaStream_t stream) {
  const bool empty = p.rows == 0 || p.cols == 0;
  Status bad = check("add_rows_backward",
                     {{p.rows >= 0 && p.cols >= 0, "rows or cols is negative"},
                      {p.cols % kVec == 0, "cols is not a multiple of 8"},
                      {p.period >= 1 && p.period <= 65535, "period is not within 1 to 65535"},
                      {p.first >= 0, "first is negative"},
                      {empty || (p.dy && p.grad), "dy or grad is null"},
                      {aligned(p.dy) && aligned(p.grad), "dy or grad is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.cols, kChunks * kVec)),
                  static_cast<unsigned>(p.period));
  sum_kernel<<<grid, dim3(kChunks, kRowGroups), 0, stream>>>(p);
  return launched("add_rows_backward");
}

}  // namespace orrery::kernels
