#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/optimizer/adamw_update.cuh"

namespace orrery::kernels {
namespace {

constexpr int kBlock = kItemThreads * kAdamWItem;  // parameters of a block of threads

template <class Moment>
__global__ void __launch_bounds__(kItemThreads) adamw_kernel(AdamWParams p, AdamWFactors f) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kBlock;
  const uint32_t at = threadIdx.x * kAdamWItem;
  if (first + at >= p.n) return;
  const AdamWArrays<Moment> arrays(p, first);
  AdamWItem<Moment> item;
  item.load(arrays, at);
  float weight[kAdamWItem];
  const float keep = keep_factor(p, f, (first + at) / kTile);
  item.update(arrays, at, f, clip_factor(p, f), keep, weight);
  if (p.weights_out != nullptr) store4(p.weights_out + first + at, Four<bf16>::pack(weight));
}

}  // namespace

Status check_adamw(const char* name, const AdamWParams& p) {
  const bool clips = p.max_norm > 0;
  return check(name, {{p.n == 0 || (p.master && p.m && p.v && p.grads && p.decay),
                       "master, m, v, grads or decay is null"},
                      {aligned(p.master) && aligned(p.m) && aligned(p.v) && aligned(p.grads) &&
                           aligned(p.weights_out),
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
}

Status adamw(const AdamWParams& p, cudaStream_t stream) {
  if (Status s = check("adamw", {{p.n >= 0 && p.n % kVec == 0, "n is not a multiple of 8"},
                                 {p.n / kBlock < kMaxItems, "n is above 2^41"}});
      !s.ok())
    return s;
  if (Status s = check_adamw("adamw", p); !s.ok() || p.n == 0) return s;
  const auto kernel = p.moments == MomentType::kBf16 ? adamw_kernel<bf16> : adamw_kernel<float>;
  kernel<<<item_blocks(p.n / kAdamWItem), kItemThreads, 0, stream>>>(p, adamw_factors(p));
  return launched("adamw");
}

}  // namespace orrery::kernels
