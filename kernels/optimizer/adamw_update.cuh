// The update of eight parameters, which AdamW's kernels share.
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

// Parameters [at, at + 8), which share a decay flag: new moments and master weights are stored, the
// weights returned too.
template <class Moment>
__device__ inline void adamw_update(const AdamWParams& p, const AdamWFactors& f, float clip,
                                    int64_t at, float (&weight)[kVec]) {
  Moment* m_at = static_cast<Moment*>(p.m) + at;
  Moment* v_at = static_cast<Moment*>(p.v) + at;
  float grad[kVec], m[kVec], v[kVec];
  load8(p.master + at, weight);
  load8(p.grads + at, grad);
  load8(m_at, m);
  load8(v_at, v);
  const float keep = p.decay[at / kTile] != 0 ? f.keep : 1.0f;
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    const float g = grad[j] * clip;
    m[j] = f.beta1 * m[j] + f.rest1 * g;
    v[j] = f.beta2 * v[j] + f.rest2 * g * g;
    weight[j] = weight[j] * keep - f.rate * m[j] / (sqrtf(v[j]) * f.root_correction + f.eps);
  }
  store8(m_at, m);
  store8(v_at, v);
  store8(p.master + at, weight);
}

// Of everything but n.
Status check_adamw(const char* name, const AdamWParams& p);

}  // namespace orrery::kernels
