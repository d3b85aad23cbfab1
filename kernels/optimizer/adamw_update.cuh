// The update of four parameters, which AdamW's kernels share.
#pragma once

#include <cmath>

#include "kernels/base/vec.cuh"
#include "kernels/optimizer/adamw.h"

namespace orrery::kernels {

// What a step multiplies by, rounded from double once.
struct AdamWFactors {
  float beta1, rest1;  // rest: 1 - beta
  float beta2, rest2;
  float keep;             // 1 - lr · weight_decay
  float rate;             // lr / (1 - beta1^step)
  float root_correction;  // 1 / sqrt(1 - beta2^step)
  float eps, max_norm;
};

inline AdamWFactors adamw_factors(const AdamWParams& p) {
  const double correction1 = 1 - std::pow(p.beta1, static_cast<double>(p.step));
  const double correction2 = 1 - std::pow(p.beta2, static_cast<double>(p.step));
  return {.beta1 = static_cast<float>(p.beta1),
          .rest1 = static_cast<float>(1 - p.beta1),
          .beta2 = static_cast<float>(p.beta2),
          .rest2 = static_cast<float>(1 - p.beta2),
          .keep = static_cast<float>(1 - p.lr * p.weight_decay),
          .rate = static_cast<float>(p.lr / correction1),
          .root_correction = static_cast<float>(1 / std::sqrt(correction2)),
          .eps = static_cast<float>(p.eps),
          .max_norm = static_cast<float>(p.max_norm)};
}

// Of the gradients, by their norm.
__device__ inline float clip_factor(const AdamWParams& p, const AdamWFactors& f) {
  if (f.max_norm <= 0) return 1;
  const float clip = f.max_norm / (sqrtf(*p.norm_squared) + 1e-6f);
  return clip > 1 ? 1 : clip;  // unlike fminf, keeps a NaN
}

// What decay chunk i multiplies the weights by.
__device__ inline float keep_factor(const AdamWParams& p, const AdamWFactors& f, int64_t chunk) {
  return p.decay[chunk] != 0 ? f.keep : 1.0f;
}

// The arrays of a step from an element on.
template <class Moment>
struct AdamWArrays {
  float* master;
  const float* grads;
  Moment *m, *v;

  __device__ AdamWArrays(const AdamWParams& p, int64_t first)
      : master(p.master + first),
        grads(p.grads + first),
        m(static_cast<Moment*>(p.m) + first),
        v(static_cast<Moment*>(p.v) + first) {}
};

constexpr int kAdamWItem = 4;

// Four parameters.
template <class Moment>
struct AdamWItem {
  Four<float> weights, grads;
  Four<Moment> m, v;

  __device__ void load(const AdamWArrays<Moment>& from, uint32_t at) {
    weights = load4(from.master + at);
    grads = load4(from.grads + at);
    m = load4(from.m + at);
    v = load4(from.v + at);
  }

  // Stores new moments and master weights; `weight` are the latter. Every product that is added to
  // something is a fused one, so that all kernels give the same bits.
  __device__ void update(const AdamWArrays<Moment>& to, uint32_t at, const AdamWFactors& f,
                         float clip, float keep, float (&weight)[kAdamWItem]) const {
    float grad[kAdamWItem], mean[kAdamWItem], square[kAdamWItem];
    weights.unpack(weight);
    grads.unpack(grad);
    m.unpack(mean);
    v.unpack(square);
#pragma unroll
    for (int j = 0; j < kAdamWItem; ++j) {
      const float g = grad[j] * clip;
      mean[j] = fmaf(f.beta1, mean[j], f.rest1 * g);
      square[j] = fmaf(f.beta2, square[j], f.rest2 * g * g);
      const float root = fmaf(sqrtf(square[j]), f.root_correction, f.eps);
      weight[j] = fmaf(weight[j], keep, -(f.rate * mean[j] / root));
    }
    store4(to.m + at, Four<Moment>::pack(mean));
    store4(to.v + at, Four<Moment>::pack(square));
    store4(to.master + at, Four<float>::pack(weight));
  }
};

// Of everything but n.
Status check_adamw(const char* name, const AdamWParams& p);

}  // namespace orrery::kernels
