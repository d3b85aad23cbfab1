// Quantisation to e4m3 with a float scale per tile: stored = round(x / scale), saturating at ±448.
#pragma once

#include <cmath>

#include "kernels/base/types.h"
#include "kernels/base/vec.cuh"

namespace orrery::kernels {

constexpr float kE4m3Max = 448;

// Scale of a tile whose largest magnitude is `amax`.
__device__ inline float tile_scale(float amax) { return amax > 0 ? amax / kE4m3Max : 1.0f; }

// Rounds to nearest even; larger magnitudes, infinities included, become ±448.
__device__ inline fp8 to_fp8(float x) { return fp8(x); }

// What quantise() needs besides the scale, once per tile. 0, so that the tile is stored as zeros,
// where the reciprocal would overflow (amax below 1e-35).
__device__ inline float tile_inverse(float scale) { return scale < 0x1p-126f ? 0.0f : 1 / scale; }

// x / scale, correctly rounded as a division is, given inverse = tile_inverse(scale).
__device__ inline float divide(float x, float scale, float inverse) {
  const float quotient = x * inverse;
  return fmaf(fmaf(-quotient, scale, x), inverse, quotient);
}

__device__ inline fp8 quantise(float x, float scale, float inverse) {
  return to_fp8(divide(x, scale, inverse));
}

template <int kCount>
__device__ inline float amax(const float (&x)[kCount]) {
  float m = 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) m = fmaxf(m, fabsf(x[i]));
  return m;
}

// The larger magnitude in each half of two words of two BF16 values; NaNs are ignored as by fmaxf.
__device__ inline uint32_t amax_bf16x2(uint32_t a, uint32_t b) {
  const __nv_bfloat162 m = __hmax2(__habs2(*reinterpret_cast<const __nv_bfloat162*>(&a)),
                                   __habs2(*reinterpret_cast<const __nv_bfloat162*>(&b)));
  return *reinterpret_cast<const uint32_t*>(&m);
}

// Of eight BF16 values.
__device__ inline float amax(const uint4& raw) {
  const uint32_t m = amax_bf16x2(amax_bf16x2(raw.x, raw.y), amax_bf16x2(raw.z, raw.w));
  return fmaxf(fmaxf(0, __uint_as_float(m << 16)), __uint_as_float(m & 0xffff0000u));
}

// Largest value among each aligned group of kLanes lanes; all lanes of the warp must take part.
template <int kLanes>
__device__ inline float lanes_max(float m) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, offset));
  return m;
}

__device__ inline uint32_t pack_fp8x4(float a, float b, float c, float d) {
  const __nv_fp8x4_e4m3 four(make_float4(a, b, c, d));
  return four.__x;
}

__device__ inline void unpack_fp8x4(uint32_t word, float* x) {
  __nv_fp8x4_e4m3 four;
  four.__x = word;
  const float4 v = static_cast<float4>(four);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}

// Quantises a tile's share and stores it; p must be aligned to kCount (8 or 16) bytes.
template <int kCount>
__device__ inline void store_quantised(fp8* p, const float (&x)[kCount], float scale,
                                       float inverse) {
  static_assert(kCount == 8 || kCount == 16);
  uint32_t words[kCount / 4];
#pragma unroll
  for (int i = 0; i < kCount / 4; ++i)
    words[i] =
        pack_fp8x4(divide(x[4 * i], scale, inverse), divide(x[4 * i + 1], scale, inverse),
                   divide(x[4 * i + 2], scale, inverse), divide(x[4 * i + 3], scale, inverse));
  if constexpr (kCount == 8)
    *reinterpret_cast<uint2*>(p) = make_uint2(words[0], words[1]);
  else
    *reinterpret_cast<uint4*>(p) = make_uint4(words[0], words[1], words[2], words[3]);
}

// Of eight BF16 values; p must be 8-byte aligned.
__device__ inline void store_quantised(fp8* p, const uint4& raw, float scale, float inverse) {
  float x[kVec];
  unpack8(raw, x);
  store_quantised<kVec>(p, x, scale, inverse);
}

// Stored values, not yet multiplied by the scale; p must be aligned to kCount (8 or 16) bytes.
template <int kCount>
__device__ inline void load_fp8(const fp8* p, float (&x)[kCount]) {
  static_assert(kCount == 8 || kCount == 16);
  if constexpr (kCount == 8) {
    const uint2 raw = *reinterpret_cast<const uint2*>(p);
    unpack_fp8x4(raw.x, x);
    unpack_fp8x4(raw.y, x + 4);
  } else {
    const uint4 raw = *reinterpret_cast<const uint4*>(p);
    unpack_fp8x4(raw.x, x);
    unpack_fp8x4(raw.y, x + 4);
    unpack_fp8x4(raw.z, x + 8);
    unpack_fp8x4(raw.w, x + 12);
  }
}

}  // namespace orrery::kernels
