#include "kernels/base/fp8.cuh"
#include "kernels/base/items.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/quant/arguments.h"
#include "kernels/quant/cast.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kHalfTile = kTile / 2;
constexpr int kTileLanes = kHalfTile / kVec;  // each has a vector of both halves of a tile
constexpr int kTilesAtOnce = kThreads / kTileLanes;
constexpr int kUnroll = 4;  // tiles of a lane: their loads are in flight together

__global__ __launch_bounds__(kThreads) void cast_rows_kernel(CastRowsParams p, uint32_t row_tiles,
                                                             uint32_t all_tiles) {
  const uint32_t lane = threadIdx.x % kTileLanes;
  const uint32_t first = blockIdx.x * kUnroll * kTilesAtOnce + threadIdx.x / kTileLanes;
  uint4 x[kUnroll][2];
  uint32_t row[kUnroll], tile[kUnroll];
  bool mine[kUnroll][2];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const uint32_t t = first + u * kTilesAtOnce;
    row[u] = t / row_tiles, tile[u] = t % row_tiles;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t col = int64_t{tile[u]} * kTile + h * kHalfTile + lane * kVec;
      mine[u][h] = t < all_tiles && col < p.cols;
      x[u][h] = mine[u][h] ? *reinterpret_cast<const uint4*>(p.x + row[u] * p.cols + col) : uint4{};
    }
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const float scale = tile_scale(lanes_max<kTileLanes>(fmaxf(amax(x[u][0]), amax(x[u][1]))));
    const Inverse inverse = tile_inverse(scale);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t col = int64_t{tile[u]} * kTile + h * kHalfTile + lane * kVec;
      if (mine[u][h]) store_quantised(p.out.data + row[u] * p.cols + col, x[u][h], inverse);
    }
    if (lane == 0 && mine[u][0])
      p.out.scales[row[u] * p.out.row_stride + tile[u] * p.out.tile_stride] = scale;
  }
}

__global__ __launch_bounds__(kItemThreads) void cast_back_kernel(CastBackParams p,
                                                                 uint32_t row_items,
                                                                 uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const int64_t row = item / row_items, col = int64_t{item % row_items} * kVec;
  float x[kVec];
  load_fp8<kVec>(p.x.data + row * p.x.cols + col, x);
  const float scale = p.x.scales[row * p.x.row_stride + col / kTile * p.x.tile_stride];
#pragma unroll
  for (float& v : x) v *= scale;
  store8(p.out + row * p.x.cols + col, x);
}

constexpr int kBlockThreads = 512;

// A block of threads per 128x128 block: thread t has 8 columns of rows t/16, t/16 + 32, ...
__global__ __launch_bounds__(kBlockThreads) void cast_block_kernel(CastBlockParams p) {
  constexpr int kRowLanes = kTile / kVec, kRowsAtOnce = kBlockThreads / kRowLanes;
  constexpr int kRows = kTile / kRowsAtOnce;  // of a thread
  const int64_t matrix = blockIdx.z * p.rows * p.cols;
  const int64_t row0 = int64_t{blockIdx.y} * kTile + threadIdx.x / kRowLanes;
  const int64_t col = int64_t{blockIdx.x} * kTile + threadIdx.x % kRowLanes * kVec;
  const int64_t first = matrix + row0 * p.cols + col, step = kRowsAtOnce * p.cols;
  uint4 x[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i)
    x[i] = row0 + i * kRowsAtOnce < p.rows && col < p.cols
               ? *reinterpret_cast<const uint4*>(p.x + first + i * step)
               : uint4{};
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kRows; ++i) largest = fmaxf(largest, amax(x[i]));
  const float scale = tile_scale(block_max<kBlockThreads>(largest));
  const Inverse inverse = tile_inverse(scale);
#pragma unroll
  for (int i = 0; i < kRows; ++i)
    if (row0 + i * kRowsAtOnce < p.rows && col < p.cols)
      store_quantised(p.out.data + first + i * step, x[i], inverse);
  if (threadIdx.x == 0)
    p.out.scales[(int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = scale;
}

}  // namespace

Status cast_rows(const CastRowsParams& p, cudaStream_t stream) {
  const int64_t all_tiles = p.rows * tiles(p.cols);
  const bool used = all_tiles > 0;
  if (Status s =
          check("cast_rows",
                {at_least("rows", p.rows, 0), multiple_of("cols", p.cols, 16),
                 equal("out.rows", p.out.rows, p.rows), equal("out.cols", p.out.cols, p.cols),
                 at_most("rows·tiles", all_tiles, kMaxItems), vector_pointer("x", p.x, used),
                 vector_pointer("out.data", p.out.data, used),
                 pointer("out.scales", p.out.scales, used)});
      !s.ok() || !used)
    return s;
  const int64_t blocks = ceil_div(all_tiles, kUnroll * kTilesAtOnce);
  cast_rows_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      p, static_cast<uint32_t>(tiles(p.cols)), static_cast<uint32_t>(all_tiles));
  return launched("cast_rows");
}

Status cast_back(const CastBackParams& p, cudaStream_t stream) {
  const int64_t items = p.x.rows * (p.x.cols / kVec);
  const bool used = items > 0;
  if (Status s = check(
          "cast_back",
          {at_least("x.rows", p.x.rows, 0), multiple_of("x.cols", p.x.cols, 16),
           at_most("x.rows·x.cols/8", items, kMaxItems), vector_pointer("x.data", p.x.data, used),
           pointer("x.scales", p.x.scales, used), vector_pointer("out", p.out, used)});
      !s.ok() || !used)
    return s;
  cast_back_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(
      p, static_cast<uint32_t>(p.x.cols / kVec), static_cast<uint32_t>(items));
  return launched("cast_back");
}

Status cast_block(const CastBlockParams& p, cudaStream_t stream) {
  const bool used = p.batch > 0 && p.rows > 0 && p.cols > 0;
  if (Status s =
          check("cast_block",
                {at_least("batch", p.batch, 0), at_least("rows", p.rows, 0),
                 multiple_of("cols", p.cols, 16), equal("out.rows", p.out.rows, p.rows),
                 equal("out.cols", p.out.cols, p.cols), at_most("batch", p.batch, kMaxGridYz),
                 at_most("rows/128", tiles(p.rows), kMaxGridYz), vector_pointer("x", p.x, used),
                 vector_pointer("out.data", p.out.data, used),
                 pointer("out.scales", p.out.scales, used)});
      !s.ok() || !used)
    return s;
  const dim3 grid(static_cast<unsigned>(tiles(p.cols)), static_cast<unsigned>(tiles(p.rows)),
                  static_cast<unsigned>(p.batch));
  cast_block_kernel<<<grid, kBlockThreads, 0, stream>>>(p);
  return launched("cast_block");
}

}  // namespace orrery::kernels
