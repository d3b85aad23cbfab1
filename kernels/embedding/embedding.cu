#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/embedding/embedding.h"

namespace orrery::kernels {
namespace {

// An item is one vector of the output.
__global__ void __launch_bounds__(kItemThreads)
    forward_kernel(EmbeddingForwardParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.cols / kVec);
  const uint32_t row = item / chunks, chunk = item % chunks;
  const int64_t id = p.ids[row];
  constexpr uint32_t kTwoNans = 0x7fff7fffu;
  uint4 v = make_uint4(0, 0, 0, 0);
  if (id >= p.vocab)
    v = make_uint4(kTwoNans, kTwoNans, kTwoNans, kTwoNans);
  else if (id >= 0)
    v = reinterpret_cast<const uint4*>(p.table + id * p.cols)[chunk];
  reinterpret_cast<uint4*>(p.out)[item] = v;
}

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kIdsPerThread = 4;
constexpr int kSpan = kThreads * kIdsPerThread;  // ids that a block looks at in one step

// Whether a row before `row` has the same id.
__device__ bool seen_before(const int32_t* ids, int row, int32_t id) {
  for (int base = 0; base < row; base += kSpan) {
    bool found = false;
#pragma unroll
    for (int k = 0; k < kIdsPerThread; ++k) {
      const int i = base + k * kThreads + static_cast<int>(threadIdx.x);
      found |= i < row && ids[i] == id;
    }
    if (__syncthreads_or(found)) return true;
  }
  return false;
}

// Writes the rows of [base, base + kSpan) with this id to `matches`, in their order, and returns
// how many there are.
__device__ int find_rows(const int32_t* ids, int base, int rows, int32_t id, int* matches) {
  __shared__ int counts[kIdsPerThread * kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  unsigned ballots[kIdsPerThread];
  __syncthreads();  // counts and matches may still be read for the previous span
#pragma unroll
  for (int k = 0; k < kIdsPerThread; ++k) {
    const int i = base + k * kThreads + static_cast<int>(threadIdx.x);
    ballots[k] = __ballot_sync(0xffffffffu, i < rows && ids[i] == id);
    if (lane == 0) counts[k * kWarps + warp] = __popc(ballots[k]);
  }
  __syncthreads();
  int total = 0;
#pragma unroll
  for (int k = 0; k < kIdsPerThread; ++k)
    for (int w = 0; w < kWarps; ++w) {
      if (w == warp && (ballots[k] >> lane & 1) != 0)
        matches[total + __popc(ballots[k] & ((1u << lane) - 1))] =
            base + k * kThreads + static_cast<int>(threadIdx.x);
      total += counts[k * kWarps + w];
    }
  __syncthreads();
  return total;
}

// A block for each row (x) and each kThreads vectors of columns (y). The first row of an id adds up
// all rows of that id; blocks of its other rows leave. The ids are few enough to stay in L1.
__global__ void __launch_bounds__(kThreads) backward_kernel(EmbeddingBackwardParams p) {
  __shared__ int matches[kSpan];
  const int first = static_cast<int>(blockIdx.x), rows = static_cast<int>(p.rows);
  const int32_t id = p.ids[first];
  if (id < 0 || id >= p.vocab || seen_before(p.ids, first, id)) return;
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kVec;
  float sum[kVec] = {};
  for (int base = first; base < rows; base += kSpan) {
    const int count = find_rows(p.ids, base, rows, id, matches);
    if (column >= p.cols) continue;
#pragma unroll 4
    for (int m = 0; m < count; ++m) {
      float dx[kVec];
      load8(p.dx + matches[m] * p.cols + column, dx);
#pragma unroll
      for (int j = 0; j < kVec; ++j) sum[j] += dx[j];
    }
  }
  if (column >= p.cols) return;
  float grad[kVec];
  load8(p.grad + id * p.cols + column, grad);
#pragma unroll
  for (int j = 0; j < kVec; ++j) grad[j] += sum[j];
  store8(p.grad + id * p.cols + column, grad);
}

}  // namespace

Status embedding_forward(const EmbeddingForwardParams& p, cudaStream_t stream) {
  const bool empty = p.rows == 0 || p.cols == 0;
  Status bad =
      check("embedding_forward",
            {{p.rows >= 0 && p.rows <= kMaxItems, "rows is negative or above 2^31 - 1"},
             {p.cols >= 0 && p.cols % kVec == 0, "cols is not a multiple of 8"},
             {p.rows == 0 || p.cols / kVec <= kMaxItems / p.rows, "rows · cols is above 2^34"},
             {empty || p.vocab > 0, "vocab is not positive"},
             {empty || (p.ids && p.table && p.out), "ids, table or out is null"},
             {aligned(p.table) && aligned(p.out), "table or out is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  const int64_t items = p.rows * (p.cols / kVec);
  forward_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(items));
  return launched("embedding_forward");
}

Status embedding_backward(const EmbeddingBackwardParams& p, cudaStream_t stream) {
  const bool empty = p.rows == 0 || p.cols == 0;
  const int64_t chunks = ceil_div(p.cols, kThreads * kVec);
  Status bad = check("embedding_backward",
                     {{p.rows >= 0 && p.rows <= (1 << 30), "rows is negative or above 2^30"},
                      {p.cols >= 0 && p.cols % kVec == 0, "cols is not a multiple of 8"},
                      {chunks <= 65535, "cols is above 65535 · 2048"},
                      {empty || p.vocab > 0, "vocab is not positive"},
                      {empty || (p.ids && p.dx && p.grad), "ids, dx or grad is null"},
                      {aligned(p.dx) && aligned(p.grad), "dx or grad is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  const dim3 grid(static_cast<unsigned>(p.rows), static_cast<unsigned>(chunks));
  backward_kernel<<<grid, kThreads, 0, stream>>>(p);
  return launched("embedding_backward");
}

}  // namespace orrery::kernels
