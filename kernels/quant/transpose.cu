#include "kernels/base/vec.cuh"
#include "kernels/quant/arguments.h"
#include "kernels/quant/cast.h"
#include "kernels/quant/transpose_tile.cuh"

namespace orrery::kernels {
namespace {

// Byte `j` of each of four words, as one word.
__device__ uint32_t gather_bytes(const uint32_t (&w)[4], int j) {
  const uint32_t selector = static_cast<uint32_t>(j | (j + 4) << 4);
  return __byte_perm(__byte_perm(w[0], w[1], selector), __byte_perm(w[2], w[3], selector), 0x5410);
}

constexpr int kBlocksDown = 2;  // 128x128 blocks, below each other, of a block of threads
constexpr int kBlockRows = kBlocksDown * kTile, kBlockChunks = kBlockRows / 16;
constexpr int kBlockThreads = kBlocksDown * kTransposeThreads;

// A thread loads 16 columns of 4 rows.
__global__ __launch_bounds__(kBlockThreads) void transpose_block_kernel(TransposeBlockParams p) {
  __shared__ TransposeTile<kTile, kBlockChunks> tile;
  const int chunk = threadIdx.x % 8, word = threadIdx.x / 8;
  const int64_t matrix = blockIdx.z * p.rows * p.cols;
  const int64_t row0 = int64_t{blockIdx.y} * kBlockRows, col0 = int64_t{blockIdx.x} * kTile;

  uint32_t words[4][4] = {};  // [row][4 columns]
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t row = row0 + word * 4 + i, col = col0 + chunk * 16;
    if (row >= p.rows || col >= p.cols) continue;
    const uint4 v = *reinterpret_cast<const uint4*>(p.in.data + matrix + row * p.cols + col);
    words[i][0] = v.x, words[i][1] = v.y, words[i][2] = v.z, words[i][3] = v.w;
  }
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const uint32_t of_rows[4] = {words[0][j / 4], words[1][j / 4], words[2][j / 4],
                                 words[3][j / 4]};
    tile.put(chunk * 16 + j, word, gather_bytes(of_rows, j % 4));
  }
  __syncthreads();
  const int to = threadIdx.x % kBlockChunks;
#pragma unroll
  for (int column = threadIdx.x / kBlockChunks; column < kTile;
       column += kBlockThreads / kBlockChunks) {
    const int64_t col = col0 + column, row = row0 + to * 16;
    if (col < p.cols && row < p.rows)
      *reinterpret_cast<uint4*>(p.out.data + matrix + col * p.rows + row) = tile.get(column, to);
  }
  const int64_t down = tiles(p.rows), tile_row = int64_t{blockIdx.y} * kBlocksDown + threadIdx.x;
  if (threadIdx.x < kBlocksDown && tile_row < down) {
    const int64_t first = int64_t{blockIdx.z} * gridDim.x * down;
    p.out.scales[first + int64_t{blockIdx.x} * down + tile_row] =
        p.in.scales[first + tile_row * gridDim.x + blockIdx.x];
  }
}

constexpr int kBf16Tile = 64;

// A block of threads per 64x64 tile: a thread loads 8 columns of 2 rows.
__global__ __launch_bounds__(kTransposeThreads) void transpose_bf16_kernel(TransposeBf16Params p) {
  __shared__ TransposeTile<kBf16Tile> tile;
  const int chunk = threadIdx.x % 8, word = threadIdx.x / 8;
  const int64_t row0 = int64_t{blockIdx.y} * kBf16Tile, col0 = int64_t{blockIdx.x} * kBf16Tile;

  uint32_t pairs[2][4] = {};  // [row][2 columns]
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t row = row0 + word * 2 + i, col = col0 + chunk * kVec;
    if (row >= p.rows || col >= p.cols) continue;
    const uint4 v = *reinterpret_cast<const uint4*>(p.in + row * p.cols + col);
    pairs[i][0] = v.x, pairs[i][1] = v.y, pairs[i][2] = v.z, pairs[i][3] = v.w;
  }
#pragma unroll
  for (int j = 0; j < kVec; ++j)
    tile.put(chunk * kVec + j, word,
             __byte_perm(pairs[0][j / 2], pairs[1][j / 2], j % 2 == 0 ? 0x5410 : 0x7632));
  __syncthreads();
#pragma unroll
  for (int column = word; column < kBf16Tile; column += kTransposeThreads / 8) {
    const int64_t col = col0 + column, row = row0 + chunk * kVec;
    if (col < p.cols && row < p.rows)
      *reinterpret_cast<uint4*>(p.out + col * p.rows + row) = tile.get(column, chunk);
  }
}

constexpr int kScaleTile = 32;

__global__ __launch_bounds__(kScaleTile* kScaleTile) void transpose_scales_kernel(
    TransposeScalesParams p) {
  __shared__ float tile[kScaleTile][kScaleTile + 1];
  const int64_t row0 = int64_t{blockIdx.x} * kScaleTile, tile0 = int64_t{blockIdx.y} * kScaleTile;
  if (row0 + threadIdx.y < p.rows && tile0 + threadIdx.x < p.tiles)
    tile[threadIdx.y][threadIdx.x] = p.in[(row0 + threadIdx.y) * p.tiles + tile0 + threadIdx.x];
  __syncthreads();
  if (row0 + threadIdx.x < p.rows && tile0 + threadIdx.y < p.tiles)
    p.out[(tile0 + threadIdx.y) * p.ld + row0 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}

}  // namespace

Status transpose_block(const TransposeBlockParams& p, cudaStream_t stream) {
  const bool used = p.batch > 0 && p.rows > 0 && p.cols > 0;
  if (Status s =
          check("transpose_block", {at_least("batch", p.batch, 0),
                                    multiple_of("rows", p.rows, 16),
                                    multiple_of("cols", p.cols, 16),
                                    equal("in.rows", p.in.rows, p.rows),
                                    equal("in.cols", p.in.cols, p.cols),
                                    equal("out.rows", p.out.rows, p.cols),
                                    equal("out.cols", p.out.cols, p.rows),
                                    at_most("batch", p.batch, kMaxGridYz),
                                    at_most("rows/128", tiles(p.rows), kMaxGridYz),
                                    vector_pointer("in.data", p.in.data, used),
                                    pointer("in.scales", p.in.scales, used),
                                    vector_pointer("out.data", p.out.data, used),
                                    pointer("out.scales", p.out.scales, used),
                                    {!used || p.in.data != p.out.data, "out.data is in.data"}});
      !s.ok() || !used)
    return s;
  const dim3 grid(static_cast<unsigned>(tiles(p.cols)),
                  static_cast<unsigned>(ceil_div(p.rows, kBlockRows)),
                  static_cast<unsigned>(p.batch));
  transpose_block_kernel<<<grid, kBlockThreads, 0, stream>>>(p);
  return launched("transpose_block");
}

Status transpose_bf16(const TransposeBf16Params& p, cudaStream_t stream) {
  const int64_t tile_rows = ceil_div(p.rows, kBf16Tile);
  const bool used = p.rows > 0 && p.cols > 0;
  if (Status s = check("transpose_bf16", {multiple_of("rows", p.rows, kVec),
                                          multiple_of("cols", p.cols, kVec),
                                          at_most("rows/64", tile_rows, kMaxGridYz),
                                          vector_pointer("in", p.in, used),
                                          vector_pointer("out", p.out, used),
                                          {!used || p.in != p.out, "out is in"}});
      !s.ok() || !used)
    return s;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.cols, kBf16Tile)),
                  static_cast<unsigned>(tile_rows));
  transpose_bf16_kernel<<<grid, kTransposeThreads, 0, stream>>>(p);
  return launched("transpose_bf16");
}

Status transpose_scales(const TransposeScalesParams& p, cudaStream_t stream) {
  const int64_t tile_cols = ceil_div(p.tiles, kScaleTile);
  const bool used = p.rows > 0 && p.tiles > 0;
  if (Status s = check("transpose_scales",
                       {at_least("rows", p.rows, 0), at_least("tiles", p.tiles, 0),
                        at_least("ld", p.ld, p.rows), at_most("tiles/32", tile_cols, kMaxGridYz),
                        pointer("in", p.in, used), pointer("out", p.out, used)});
      !s.ok() || !used)
    return s;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.rows, kScaleTile)),
                  static_cast<unsigned>(tile_cols));
  transpose_scales_kernel<<<grid, dim3(kScaleTile, kScaleTile), 0, stream>>>(p);
  return launched("transpose_scales");
}

}  // namespace orrery::kernels
