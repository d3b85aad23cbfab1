// Accesses of up to 16 bytes: eight or four values at a time.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace orrery::kernels {

constexpr int kVec = 8;  // BF16 elements of a 16-byte access

__device__ inline void unpack8(const uint4& raw, float (&x)[8]) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    // A BF16 value is the upper half of the float of the same value.
    x[2 * i] = __uint_as_float(words[i] << 16);
    x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

// p must be 16-byte aligned.
__device__ inline void load8(const __nv_bfloat16* p, float (&x)[8]) {
  unpack8(*reinterpret_cast<const uint4*>(p), x);
}

__device__ inline uint32_t pack_bf16x2(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Rounds to nearest even.
__device__ inline uint4 pack8(const float (&x)[8]) {
  return make_uint4(pack_bf16x2(x[0], x[1]), pack_bf16x2(x[2], x[3]), pack_bf16x2(x[4], x[5]),
                    pack_bf16x2(x[6], x[7]));
}

// Rounds to nearest even; p must be 16-byte aligned.
__device__ inline void store8(__nv_bfloat16* p, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(p) = pack8(x);
}

// p must be 16-byte aligned.
__device__ inline void load8(const float* p, float (&x)[8]) {
  const float4 low = reinterpret_cast<const float4*>(p)[0];
  const float4 high = reinterpret_cast<const float4*>(p)[1];
  x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
  x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}

__device__ inline void store8(float* p, const float (&x)[8]) {
  reinterpret_cast<float4*>(p)[0] = make_float4(x[0], x[1], x[2], x[3]);
  reinterpret_cast<float4*>(p)[1] = make_float4(x[4], x[5], x[6], x[7]);
}

// Four values as they are stored; 8 or 16 bytes, aligned to that.
template <class T>
struct Four;
template <>
struct Four<float> {
  float4 raw;
  __device__ void unpack(float (&x)[4]) const {
    x[0] = raw.x, x[1] = raw.y, x[2] = raw.z, x[3] = raw.w;
  }
  __device__ static Four pack(const float (&x)[4]) { return {make_float4(x[0], x[1], x[2], x[3])}; }
};
template <>
struct Four<__nv_bfloat16> {
  uint2 raw;
  __device__ void unpack(float (&x)[4]) const {
    x[0] = __uint_as_float(raw.x << 16), x[1] = __uint_as_float(raw.x & 0xffff0000u);
    x[2] = __uint_as_float(raw.y << 16), x[3] = __uint_as_float(raw.y & 0xffff0000u);
  }
  // Rounds to nearest even.
  __device__ static Four pack(const float (&x)[4]) {
    return {make_uint2(pack_bf16x2(x[0], x[1]), pack_bf16x2(x[2], x[3]))};
  }
};
template <class T>
__device__ inline Four<T> load4(const T* p) {
  return *reinterpret_cast<const Four<T>*>(p);
}
template <class T>
__device__ inline void store4(T* p, const Four<T>& x) {
  *reinterpret_cast<Four<T>*>(p) = x;
}

__device__ inline float round_bf16(float x) { return __bfloat162float(__float2bfloat16_rn(x)); }

}  // namespace orrery::kernels
