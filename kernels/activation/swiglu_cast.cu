// SwiGLU with FP8 outputs.
#include "kernels/activation/swiglu.cuh"
#include "kernels/activation/swiglu.h"
#include "kernels/base/fp8.cuh"
#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"

namespace orrery::kernels {
namespace {

constexpr int kHalfTile = kTile / 2;
constexpr int kTileLanes = kHalfTile / kVec;  // each has a vector of both halves of a tile
constexpr int kTilesAtOnce = kItemThreads / kTileLanes;  // of a block

// Threads past the last tile, or past the end of a row's last one, stay for the shuffles and bring
// zeros.
__global__ void __launch_bounds__(kItemThreads)
    cast_kernel(SwiGluCastParams p, uint32_t row_tiles, uint32_t all_tiles) {
  const uint32_t lane = threadIdx.x % kTileLanes;
  const uint32_t at = blockIdx.x * kTilesAtOnce + threadIdx.x / kTileLanes;
  const uint32_t row = at / row_tiles, tile = at % row_tiles;
  const int64_t column = int64_t{tile} * kTile + lane * kVec;
  const bool mine[2] = {at < all_tiles && column < p.w, at < all_tiles && column + kHalfTile < p.w};
  const bf16* from = p.gate_up + row * (2 * p.w) + column;
  uint4 gate[2] = {}, up[2] = {};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (!mine[h]) continue;
    gate[h] = *reinterpret_cast<const uint4*>(from + h * kHalfTile);
    up[h] = *reinterpret_cast<const uint4*>(from + h * kHalfTile + p.w);
  }
  float act[2][kVec];
#pragma unroll
  for (int h = 0; h < 2; ++h) act_of(gate[h], up[h], act[h]);
  const float scale = tile_scale(lanes_max<kTileLanes>(fmaxf(amax(act[0]), amax(act[1]))));
  const Inverse inverse = tile_inverse(scale);
#pragma unroll
  for (int h = 0; h < 2; ++h)
    if (mine[h]) store_quantised(p.out.data + row * p.w + column + h * kHalfTile, act[h], inverse);
  if (lane == 0 && mine[0]) p.out.scales[row * p.out.row_stride + tile * p.out.tile_stride] = scale;
}

// A block of the transpose: kTile rows of act, one tile of each of kColumns columns.
constexpr int kColumns = 64;

// Where element (row, column) lies in shared memory. The skew lets a warp write 4 rows of 64
// columns with two-way bank conflicts, and read 32 groups of 4 rows of one column without any.
__device__ int skewed(int row, int column) {
  return row * kColumns + (column + row / 4 + 2 * (row % 4)) % kColumns;
}

__global__ void __launch_bounds__(kItemThreads) cast_transpose_kernel(SwiGluCastTransposeParams p) {
  __shared__ float block[kTile * kColumns];
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kColumns;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  constexpr int kChunks = kColumns / kVec;
  for (int i = threadIdx.x; i < kTile * kChunks; i += kItemThreads) {
    const int row = i / kChunks, column = i % kChunks * kVec;
    float act[kVec] = {};
    if (first_row + row < p.rows && first_column + column < p.w)
      load_act(p.gate_up + (first_row + row) * 2 * p.w + first_column + column, p.w, act);
#pragma unroll
    for (int j = 0; j < kVec; ++j) block[skewed(row, column + j)] = act[j];
  }
  __syncthreads();
  // A warp per column: every lane has 4 of the 128 rows.
  const int row = threadIdx.x % 32 * 4;
  for (int column = threadIdx.x / 32; column < kColumns; column += kItemThreads / 32) {
    if (first_column + column >= p.w) break;
    float act[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) act[j] = block[skewed(row + j, column)];
    const float scale = tile_scale(lanes_max<32>(amax(act)));
    const Inverse inverse = tile_inverse(scale);
    if (row == 0)
      p.out.scales[(first_column + column) * p.out.row_stride + blockIdx.y * p.out.tile_stride] =
          scale;
    if (first_row + row >= p.rows) continue;
    *reinterpret_cast<uint32_t*>(p.out.data + (first_column + column) * p.rows + first_row + row) =
        quantise4(act, inverse);
  }
}

// `out` must be [out_rows, out_cols] and cover no more than the grid's 32-bit items can count.
template <class Params>
Status check_cast(const char* kernel, const Params& p, int64_t out_rows, int64_t out_cols) {
  const bool empty = p.rows == 0 || p.w == 0;
  return check(
      kernel,
      {{p.rows >= 0 && p.rows <= kMaxItems, "rows is negative or above 2^31 - 1"},
       {p.w >= 0 && p.w % 16 == 0, "w is not a multiple of 16"},
       {p.rows == 0 || tiles(p.w) * (kTile / kVec) <= kMaxItems / p.rows, "rows · w is above 2^34"},
       {p.out.rows == out_rows && p.out.cols == out_cols, "out has another shape"},
       {p.out.row_stride >= 0 && p.out.tile_stride >= 0, "a stride of out is negative"},
       {empty || (p.gate_up && p.out.data && p.out.scales),
        "gate_up, out.data or out.scales is null"},
       {aligned(p.gate_up) && aligned(p.out.data), "gate_up or out.data is not 16-byte aligned"}});
}

}  // namespace

Status swiglu_cast(const SwiGluCastParams& p, cudaStream_t stream) {
  Status bad = check_cast("swiglu_cast", p, p.rows, p.w);
  const int64_t all_tiles = p.rows * tiles(p.w);
  if (!bad.ok() || all_tiles == 0) return bad;
  const int64_t blocks = ceil_div(all_tiles, kTilesAtOnce);
  cast_kernel<<<static_cast<unsigned>(blocks), kItemThreads, 0, stream>>>(
      p, static_cast<uint32_t>(tiles(p.w)), static_cast<uint32_t>(all_tiles));
  return launched("swiglu_cast");
}

Status swiglu_cast_transpose(const SwiGluCastTransposeParams& p, cudaStream_t stream) {
  Status bad = check_cast("swiglu_cast_transpose", p, p.w, p.rows);
  if (!bad.ok() || p.rows == 0 || p.w == 0) return bad;
  if (p.rows % 16 != 0) return failed("swiglu_cast_transpose: rows is not a multiple of 16");
  if (tiles(p.rows) > 65535) return failed("swiglu_cast_transpose: rows is above 65535 · 128");
  const dim3 grid(static_cast<unsigned>(ceil_div(p.w, kColumns)),
                  static_cast<unsigned>(tiles(p.rows)));
  cast_transpose_kernel<<<grid, kItemThreads, 0, stream>>>(p);
  return launched("swiglu_cast_transpose");
}

}  // namespace orrery::kernels
