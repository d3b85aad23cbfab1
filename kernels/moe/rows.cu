#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/moe/layout_view.h"
#include "kernels/moe/rows.h"

namespace orrery::kernels {
namespace {

constexpr int kWarps = 8;  // rows of a block

unsigned row_blocks(int64_t rows) { return static_cast<unsigned>(ceil_div(rows, kWarps)); }
__device__ int64_t warp_row() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
}

// `vectors`: 16-byte pieces of a row.
__global__ void __launch_bounds__(kWarps * 32)
    gather_kernel(GatherRowsParams p, const uint4* x, uint4* out, int64_t vectors) {
  const int64_t row = warp_row();
  if (row >= (p.rows != nullptr ? *p.rows : p.capacity) || row >= p.capacity) return;
  const int lane = threadIdx.x % 32;
  const int32_t index = p.index[row];
  const int64_t from = index < 0 ? -1 : index / static_cast<int32_t>(p.divisor);
  uint4* to = out + row * vectors;
  if (from < 0) {
    for (int64_t v = lane; v < vectors; v += 32) to[v] = uint4{};
  } else {
#pragma unroll 8
    for (int64_t v = lane; v < vectors; v += 32) to[v] = x[from * vectors + v];
  }
  if (p.out8.data == nullptr) return;
  for (int64_t tile = lane; tile < tiles(p.cols); tile += 32)
    p.out8.scales[row * p.out8.row_stride + tile * p.out8.tile_stride] =
        from < 0 ? 1.0f : p.x8.scales[from * p.x8.row_stride + tile * p.x8.tile_stride];
}

__global__ void __launch_bounds__(kWarps * 32) sum_kernel(SumRowsParams p) {
  __shared__ int32_t index[kWarps][kMaxTopK];
  __shared__ float weight[kWarps][kMaxTopK];
  const int64_t row = warp_row();
  if (row >= p.rows) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t mine = lane < p.k ? p.index[row * p.k + lane] : -1;
  const unsigned present = __ballot_sync(0xffffffffu, mine >= 0);
  if (mine >= 0) {
    const int at = __popc(present & ((1u << lane) - 1));
    index[warp][at] = mine;
    weight[warp][at] = p.weights != nullptr ? p.weights[mine] : 1.0f;
  }
  __syncwarp();
  const int count = __popc(present);
  for (int64_t c = lane * kVec; c < p.cols; c += 32 * kVec) {
    float sum[kVec] = {};
#pragma unroll 4
    for (int j = 0; j < count; ++j) {
      float x[kVec];
      load8(p.x + index[warp][j] * p.cols + c, x);
      const float w = weight[warp][j];
#pragma unroll
      for (int i = 0; i < kVec; ++i) sum[i] += w * x[i];
    }
    if (p.addend != nullptr) {
      float x[kVec];
      load8(p.addend + row * p.cols + c, x);
#pragma unroll
      for (int i = 0; i < kVec; ++i) sum[i] += x[i];
    }
    store8(p.out + row * p.cols + c, sum);
  }
}

Status check_gather(const char* kernel, const GatherRowsParams& p) {
  const bool fp8_rows = p.out8.data != nullptr;
  const void* x = fp8_rows ? static_cast<const void*>(p.x8.data) : p.x;
  const void* out = fp8_rows ? static_cast<const void*>(p.out8.data) : p.out;
  Status bad = check(
      kernel, {{p.capacity >= 0 && p.capacity <= INT32_MAX, "capacity is not within 0 to 2^31 - 1"},
               {p.cols >= 0 && p.cols % (fp8_rows ? 16 : 8) == 0,
                fp8_rows ? "cols is not a multiple of 16" : "cols is not a multiple of 8"},
               {p.divisor >= 1 && p.divisor <= kMaxTopK, "k is not within 1 to 32"},
               {(p.x == nullptr || p.x8.data == nullptr) && (p.out == nullptr || !fp8_rows),
                "both BF16 and FP8 are given"}});
  if (!bad.ok() || p.capacity == 0 || p.cols == 0) return bad;
  return check(kernel,
               {{p.index != nullptr, "the row index is null"},
                {x != nullptr, "x is null, or of another type than out"},
                {out != nullptr, "out is null"},
                {aligned(x) && aligned(out), "x or out is not 16-byte aligned"},
                {!fp8_rows || (p.x8.scales && p.out8.scales), "scales are null"},
                {!fp8_rows || (p.x8.cols == p.cols && p.out8.cols == p.cols),
                 "cols differs from that of the FP8 view"},
                {!fp8_rows || p.out8.rows >= p.capacity, "the FP8 output has too few rows"}});
}

}  // namespace

Status gather_rows(const char* kernel, const GatherRowsParams& p, cudaStream_t stream) {
  Status bad = check_gather(kernel, p);
  if (!bad.ok() || p.capacity == 0 || p.cols == 0) return bad;
  const unsigned blocks = row_blocks(p.capacity);
  if (p.out8.data != nullptr)
    gather_kernel<<<blocks, kWarps * 32, 0, stream>>>(p, reinterpret_cast<const uint4*>(p.x8.data),
                                                      reinterpret_cast<uint4*>(p.out8.data),
                                                      p.cols / 16);
  else
    gather_kernel<<<blocks, kWarps * 32, 0, stream>>>(p, reinterpret_cast<const uint4*>(p.x),
                                                      reinterpret_cast<uint4*>(p.out), p.cols / 8);
  return launched(kernel);
}

Status sum_rows(const char* kernel, const SumRowsParams& p, cudaStream_t stream) {
  const bool some = p.rows > 0 && p.cols > 0;
  Status bad = check(
      kernel,
      {{p.rows >= 0 && p.rows <= INT32_MAX, "rows are not within 0 to 2^31 - 1"},
       {p.k >= 1 && p.k <= kMaxTopK, "k is not within 1 to 32"},
       {p.cols >= 0 && p.cols % kVec == 0, "cols is not a multiple of 8"},
       {!some || p.index != nullptr, "the row index is null"},
       {!some || p.out != nullptr, "out is null"},
       {aligned(p.x) && aligned(p.addend) && aligned(p.out), "a tensor is not 16-byte aligned"}});
  if (!bad.ok() || !some) return bad;
  sum_kernel<<<row_blocks(p.rows), kWarps * 32, 0, stream>>>(p);
  return launched(kernel);
}

}  // namespace orrery::kernels
