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

// 1 / scale as the sum of two floats, to 46 bits.
struct Inverse {
  float high, low;
};

// Once per tile. 0, so that the tile is stored as zeros, where the reciprocal would overflow (amax
// below 1e-35).
__device__ inline Inverse tile_inverse(float scale) {
  const float high = scale < 0x1p-126f ? 0.0f : 1 / scale;
  return {high, fmaf(-high, scale, 1.0f) * high};
}

// x / scale, rounded as a division is unless the quotient lies within 2^-46 of itself of the middle
// between two floats.
__device__ inline float divide(float x, Inverse inverse) {
  return fmaf(x, inverse.high, x * inverse.low);
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

// By way of halves, which hold e4m3 exactly.
__device__ inline void unpack_fp8x4(uint32_t word, float* x) {
  __half2 low, high;
  asm("{\n"
      ".reg .b16 l, h;\n"
      "mov.b32 {l, h}, %2;\n"
      "cvt.rn.f16x2.e4m3x2 %0, l;\n"
      "cvt.rn.f16x2.e4m3x2 %1, h;\n"
      "}"
      : "=r"(reinterpret_cast<uint32_t&>(low)), "=r"(reinterpret_cast<uint32_t&>(high))
      : "r"(word));
  const float2 a = __half22float2(low), b = __half22float2(high);
  x[0] = a.x, x[1] = a.y, x[2] = b.x, x[3] = b.y;
}

// Four values of a tile, quantised.
__device__ inline uint32_t quantise4(const float* x, Inverse inverse) {
  return pack_fp8x4(divide(x[0], inverse), divide(x[1], inverse), divide(x[2], inverse),
                    divide(x[3], inverse));
}

// Eight values of a tile; p must be 8-byte aligned.
__device__ inline void store_quantised(fp8* p, const float (&x)[kVec], Inverse inverse) {
  *reinterpret_cast<uint2*>(p) = make_uint2(quantise4(x, inverse), quantise4(x + 4, inverse));
}
__device__ inline void store_quantised(fp8* p, const uint4& raw, Inverse inverse) {
  float x[kVec];
  unpack8(raw, x);
  store_quantised(p, x, inverse);
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
