#include "kernels/base/fp8.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/quant/arguments.h"
#include "kernels/quant/cast.h"
#include "kernels/quant/transpose_tile.cuh"

namespace orrery::kernels {
namespace {

// The row of x that is row `row` of the source; -1: zeros.
__device__ int64_t source_row(const CastTransposeParams& p, int64_t row) {
  if (p.gather == nullptr) return row;
  const int32_t index = p.gather[row];
  return index < 0 ? -1 : index / p.gather_divisor;
}

constexpr int kColumns = 64;  // of the source, in a block; with 128 rows
constexpr int kRowsOfThread = 4;

// 8 columns of 4 consecutive source rows; zeros beyond the matrix.
template <bool kFromFp8>
__device__ void load_share(const CastTransposeParams& p, int64_t row0, int64_t col,
                           float (&x)[kRowsOfThread][kVec]) {
#pragma unroll
  for (int i = 0; i < kRowsOfThread; ++i) {
    const int64_t row = row0 + i;
    if (row >= p.rows || col >= p.cols) continue;
    const int64_t source = source_row(p, row);
    if (source < 0) continue;
    if constexpr (kFromFp8) {
      load_fp8<kVec>(p.x8.data + source * p.cols + col, x[i]);
      const float scale = p.x8.scales[source * p.x8.row_stride + col / kTile * p.x8.tile_stride];
#pragma unroll
      for (float& v : x[i]) v *= scale;
    } else {
      load8(p.x + source * p.cols + col, x[i]);
    }
  }
}

template <bool kFromFp8>
__global__ __launch_bounds__(kTransposeThreads) void cast_transpose_kernel(CastTransposeParams p) {
  constexpr int kWarps = kTransposeThreads / 32;
  __shared__ TransposeTile<kColumns> tile;
  __shared__ float warp_amax[kWarps][kColumns];
  __shared__ __align__(16) float scales[kColumns], inverses[kColumns];

  const int chunk = threadIdx.x % 8, word = threadIdx.x / 8, lane = threadIdx.x % 32;
  const int64_t row0 = int64_t{blockIdx.y} * kTile, col0 = int64_t{blockIdx.x} * kColumns;
  float x[kRowsOfThread][kVec] = {};
  load_share<kFromFp8>(p, row0 + word * kRowsOfThread, col0 + chunk * kVec, x);

#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    float m = 0;
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) m = fmaxf(m, fabsf(x[i][j]));
    // Lanes 8 apart have the same columns.
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 8));
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 16));
    if (lane < 8) warp_amax[threadIdx.x / 32][chunk * kVec + j] = m;
  }
  __syncthreads();
  if (threadIdx.x < kColumns) {
    float m = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) m = fmaxf(m, warp_amax[w][threadIdx.x]);
    const float scale = tile_scale(m);
    scales[threadIdx.x] = scale;
    inverses[threadIdx.x] = tile_inverse(scale);
    const int64_t col = col0 + threadIdx.x;
    if (col < p.cols)
      p.out.scales[col * p.out.row_stride + int64_t{blockIdx.y} * p.out.tile_stride] = scale;
  }
  __syncthreads();
  float scale[kVec], inverse[kVec];
  load8(scales + chunk * kVec, scale);
  load8(inverses + chunk * kVec, inverse);
#pragma unroll
  for (int j = 0; j < kVec; ++j)
    tile.put(
        chunk * kVec + j, word,
        pack_fp8x4(divide(x[0][j], scale[j], inverse[j]), divide(x[1][j], scale[j], inverse[j]),
                   divide(x[2][j], scale[j], inverse[j]), divide(x[3][j], scale[j], inverse[j])));
  __syncthreads();
#pragma unroll
  for (int column = word; column < kColumns; column += kTransposeThreads / 8) {
    const int64_t col = col0 + column, row = row0 + chunk * 16;
    if (col < p.cols && row < p.rows)
      *reinterpret_cast<uint4*>(p.out.data + col * p.rows + row) = tile.get(column, chunk);
  }
}

}  // namespace

Status cast_transpose(const CastTransposeParams& p, cudaStream_t stream) {
  const bool from_fp8 = p.x8.data != nullptr, used = p.rows > 0 && p.cols > 0;
  const void* source = from_fp8 ? static_cast<const void*>(p.x8.data) : p.x;
  if (Status s = check("cast_transpose",
                       {multiple_of("rows", p.rows, 16),
                        multiple_of("cols", p.cols, from_fp8 ? 16 : 8),
                        equal("out.rows", p.out.rows, p.cols),
                        equal("out.cols", p.out.cols, p.rows),
                        at_most("rows/128", tiles(p.rows), kMaxGridYz),
                        {!from_fp8 || p.x == nullptr, "both x and x8.data are given, expected one"},
                        equal("x8.cols", from_fp8 ? p.x8.cols : p.cols, p.cols),
                        pointer("x8.scales", p.x8.scales, used && from_fp8),
                        vector_pointer(from_fp8 ? "x8.data" : "x", source, used),
                        vector_pointer("out.data", p.out.data, used),
                        pointer("out.scales", p.out.scales, used)});
      !s.ok() || !used)
    return s;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.cols, kColumns)),
                  static_cast<unsigned>(tiles(p.rows)));
  if (from_fp8)
    cast_transpose_kernel<true><<<grid, kTransposeThreads, 0, stream>>>(p);
  else
    cast_transpose_kernel<false><<<grid, kTransposeThreads, 0, stream>>>(p);
  return launched("cast_transpose");
}

}  // namespace orrery::kernels
