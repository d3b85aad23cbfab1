// The softmax of a row of BF16 logits in one pass over it.
#pragma once

#include <cfloat>

#include "kernels/base/exp2.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"

namespace orrery::kernels {

constexpr uint32_t kTwoOfMinusInfinity = 0xff80ff80;  // BF16
// A vector that adds nothing to a softmax.
__device__ inline uint4 no_logits() {
  return make_uint4(kTwoOfMinusInfinity, kTwoOfMinusInfinity, kTwoOfMinusInfinity,
                    kTwoOfMinusInfinity);
}

__device__ inline float exp_approx(float x) { return exp2_approx(x * kLog2E); }

__device__ inline uint32_t max_bf16x2(uint32_t a, uint32_t b) {
  const __nv_bfloat162 m = __hmax2(*reinterpret_cast<const __nv_bfloat162*>(&a),
                                   *reinterpret_cast<const __nv_bfloat162*>(&b));
  return *reinterpret_cast<const uint32_t*>(&m);
}

// The largest logit so far, finite so that logits of -inf give 0 rather than NaN, and the sum of
// exp(logit - largest).
struct Softmax {
  float largest, sum;

  __device__ static Softmax empty() { return {-FLT_MAX, 0}; }
  __device__ void raise(float m) {
    sum *= exp_approx(largest - m);
    largest = m;
  }
  // Of kCount vectors at once.
  template <int kCount>
  __device__ void add(const uint4 (&raw)[kCount]) {
    uint32_t m = kTwoOfMinusInfinity;
#pragma unroll
    for (const uint4& v : raw)
      m = max_bf16x2(max_bf16x2(max_bf16x2(m, v.x), v.y), max_bf16x2(v.z, v.w));
    raise(fmaxf(fmaxf(largest, __uint_as_float(m << 16)), __uint_as_float(m & 0xffff0000u)));
#pragma unroll
    for (const uint4& v : raw) {
      float x[kVec];
      unpack8(v, x);
#pragma unroll
      for (int j = 0; j < kVec; ++j) sum += exp_approx(x[j] - largest);
    }
  }
  __device__ void add(const Softmax& other) {
    const float m = fmaxf(largest, other.largest);
    raise(m);
    sum += other.sum * exp_approx(other.largest - m);
  }
  // Of all lanes of a warp.
  __device__ void reduce() {
    raise(warp_reduce(largest, Max{}));
    sum = warp_reduce(sum, Sum{});
  }
};

// exp(logit - largest) · factor, less `scale` at the label if that is in this vector.
__device__ inline uint4 softmax_gradient(const uint4& raw, float largest, float factor, int label,
                                         float scale) {
  float x[kVec];
  unpack8(raw, x);
#pragma unroll
  for (int j = 0; j < kVec; ++j) x[j] = exp_approx(x[j] - largest) * factor;
  if (label >= 0 && label < kVec) {
#pragma unroll
    for (int j = 0; j < kVec; ++j) x[j] -= label == j ? scale : 0;
  }
  return pack8(x);
}

}  // namespace orrery::kernels
