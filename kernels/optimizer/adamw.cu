#include <cmath>

#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/optimizer/adamw.h"

namespace orrery::kernels {
namespace {

// What a step multiplies by, rounded from double once.
struct Factors {
  float beta1, rest1;  // rest: 1 - beta
  float beta2, rest2;
  float keep;             // 1 - lr · weight_decay
  float rate;             // lr / (1 - beta1^step)
  float root_correction;  // 1 / sqrt(1 - beta2^step)
  float eps, max_norm;
};

Factors factors(const AdamWParams& p) {
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

// An item is 8 parameters, which share a decay flag.
template <class Moment>
__global__ void __launch_bounds__(kItemThreads) adamw_kernel(AdamWParams p, Factors f) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kItemThreads + threadIdx.x) * kVec;
  if (at >= p.n) return;
  Moment* m_at = static_cast<Moment*>(p.m) + at;
  Moment* v_at = static_cast<Moment*>(p.v) + at;
  float weight[kVec], grad[kVec], m[kVec], v[kVec];
  load8(p.master + at, weight);
  load8(p.grads + at, grad);
  load8(m_at, m);
  load8(v_at, v);
  float clip = 1;
  if (f.max_norm > 0) {
    clip = f.max_norm / (sqrtf(*p.norm_squared) + 1e-6f);
    if (clip > 1) clip = 1;  // unlike fminf, keeps a NaN
  }
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
  if (p.weights_out != nullptr) store8(p.weights_out + at, weight);
}

}  // namespace

Status adamw(const AdamWParams& p, cudaStream_t stream) {
  const bool clips = p.max_norm > 0;
  Status bad = check("adamw", {{p.n >= 0 && p.n % kVec == 0, "n is not a multiple of 8"},
                               {p.n / kVec / kItemThreads < kMaxItems, "n is above 2^42"},
                               {p.n == 0 || (p.master && p.m && p.v && p.grads && p.decay),
                                "master, m, v, grads or decay is null"},
                               {aligned(p.master) && aligned(p.m) && aligned(p.v) &&
                                    aligned(p.grads) && aligned(p.weights_out),
                                "master, m, v, grads or weights_out is not 16-byte aligned"},
                               {p.moments == MomentType::kBf16 || p.moments == MomentType::kFp32,
                                "moments is neither BF16 nor FP32"},
                               {p.beta1 >= 0 && p.beta1 < 1, "beta1 is not in [0, 1)"},
                               {p.beta2 >= 0 && p.beta2 < 1, "beta2 is not in [0, 1)"},
                               {p.eps > 0, "eps is not positive"},
                               {p.step >= 1, "step is below 1"},
                               {p.max_norm >= 0, "max_norm is negative"},
                               {p.n == 0 || !clips || p.norm_squared,
                                "norm_squared is null although max_norm is set"}});
  if (!bad.ok() || p.n == 0) return bad;
  const auto kernel = p.moments == MomentType::kBf16 ? adamw_kernel<bf16> : adamw_kernel<float>;
  kernel<<<item_blocks(p.n / kVec), kItemThreads, 0, stream>>>(p, factors(p));
  return launched("adamw");
}

}  // namespace orrery::kernels
