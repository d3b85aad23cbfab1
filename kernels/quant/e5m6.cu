#include "kernels/base/fp8.cuh"
#include "kernels/base/items.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/quant/arguments.h"
#include "kernels/quant/cast.h"

namespace orrery::kernels {
namespace {

constexpr float kE5m6Max = 65024;
constexpr int kLanes = kTile / kVec;  // lanes of a tile

// x, already divided by the scale, as 12 bits.
__device__ uint32_t to_e5m6(float x) {
  constexpr int kDropped = 23 - 6;  // bits of a float's mantissa
  const uint32_t sign = __float_as_uint(x) >> 31 << 11;
  if (isnan(x)) return sign | 0x7ff;
  const float magnitude = fminf(fabsf(x), kE5m6Max);
  // Subnormals, in units of 2^-20; 64 of them are the smallest normal value, code 64.
  if (magnitude < 0x1p-14f) return sign | __float2uint_rn(magnitude * 0x1p20f);
  uint32_t bits = __float_as_uint(magnitude);
  bits += (1u << (kDropped - 1)) - 1 + (bits >> kDropped & 1);  // to nearest even
  return sign | ((bits >> kDropped) - ((127 - 15) << 6));
}

__device__ float from_e5m6(uint32_t code) {
  const uint32_t magnitude = code & 0x7ff;
  // As a float's exponent and mantissa its exponent is 112 too small, subnormals included.
  const float x = magnitude >= 0x7c0 ? NAN : __uint_as_float(magnitude << 17) * 0x1p112f;
  return code >> 11 & 1 ? -x : x;
}

// 8 values in 3 words; 16 lanes have a tile.
__global__ __launch_bounds__(kItemThreads) void cast_e5m6_kernel(CastE5m6Params p,
                                                                 uint32_t row_tiles,
                                                                 uint32_t all_tiles) {
  const int lane = threadIdx.x % kLanes;
  const uint32_t tile = blockIdx.x * (kItemThreads / kLanes) + threadIdx.x / kLanes;
  const int64_t row = tile / row_tiles, col = int64_t{tile % row_tiles} * kTile + lane * kVec;
  const bool mine = tile < all_tiles && col < p.cols;
  float x[kVec] = {};
  if (mine) load8(p.x + row * p.cols + col, x);
  const float largest = lanes_max<kLanes>(amax(x));
  if (!mine) return;
  const float scale = largest > 0 ? largest / kE5m6Max : 1.0f;
  const Inverse inverse = tile_inverse(scale);
  uint32_t code[kVec];
#pragma unroll
  for (int i = 0; i < kVec; ++i) code[i] = to_e5m6(divide(x[i], inverse));
  uint32_t* words =
      reinterpret_cast<uint32_t*>(p.packed + row * e5m6_row_bytes(p.cols)) + col / 8 * 3;
  words[0] = code[0] | code[1] << 12 | code[2] << 24;
  words[1] = code[2] >> 8 | code[3] << 4 | code[4] << 16 | code[5] << 28;
  words[2] = code[5] >> 4 | code[6] << 8 | code[7] << 20;
  if (lane == 0) p.scales[tile] = scale;
}

__global__ __launch_bounds__(kItemThreads) void cast_back_e5m6_kernel(CastBackE5m6Params p,
                                                                      uint32_t row_items,
                                                                      uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const int64_t row = item / row_items, col = int64_t{item % row_items} * kVec;
  const uint32_t* words =
      reinterpret_cast<const uint32_t*>(p.packed + row * e5m6_row_bytes(p.cols)) + col / 8 * 3;
  const uint32_t a = words[0], b = words[1], c = words[2];
  const uint32_t code[kVec] = {a,       a >> 12,          a >> 24 | b << 8, b >> 4,
                               b >> 16, b >> 28 | c << 4, c >> 8,           c >> 20};
  const float scale = p.scales[row * tiles(p.cols) + col / kTile];
  float x[kVec];
#pragma unroll
  for (int i = 0; i < kVec; ++i) x[i] = from_e5m6(code[i] & 0xfff) * scale;
  store8(p.out + row * p.cols + col, x);
}

}  // namespace

Status cast_e5m6(const CastE5m6Params& p, cudaStream_t stream) {
  const int64_t all_tiles = p.rows * tiles(p.cols);
  const bool used = all_tiles > 0;
  if (Status s = check(
          "cast_e5m6",
          {at_least("rows", p.rows, 0), multiple_of("cols", p.cols, kVec),
           at_most("rows·tiles·16", all_tiles * kLanes, kMaxItems), vector_pointer("x", p.x, used),
           vector_pointer("packed", p.packed, used), pointer("scales", p.scales, used)});
      !s.ok() || !used)
    return s;
  cast_e5m6_kernel<<<item_blocks(all_tiles * kLanes), kItemThreads, 0, stream>>>(
      p, static_cast<uint32_t>(tiles(p.cols)), static_cast<uint32_t>(all_tiles));
  return launched("cast_e5m6");
}

Status cast_back_e5m6(const CastBackE5m6Params& p, cudaStream_t stream) {
  const int64_t items = p.rows * (p.cols / kVec);
  const bool used = items > 0;
  if (Status s =
          check("cast_back_e5m6",
                {at_least("rows", p.rows, 0), multiple_of("cols", p.cols, kVec),
                 at_most("rows·cols/8", items, kMaxItems), vector_pointer("packed", p.packed, used),
                 pointer("scales", p.scales, used), vector_pointer("out", p.out, used)});
      !s.ok() || !used)
    return s;
  cast_back_e5m6_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(
      p, static_cast<uint32_t>(p.cols / kVec), static_cast<uint32_t>(items));
  return launched("cast_back_e5m6");
}

}  // namespace orrery::kernels
