// AdamW (arXiv 1711.05101) with clipping by the global gradient norm, and the router's balancing
// bias. Everything is FP32 unless said; arrays are 16-byte aligned.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

constexpr int64_t kSumSquaresWorkspace = 1024;  // floats

// *out += scale · sum of x².
struct SumSquaresParams {
  int64_t n = 0;  // a multiple of 4
  const float* x = nullptr;
  float scale = 1;
  float* workspace = nullptr;  // [kSumSquaresWorkspace]
  float* out = nullptr;
};
Status sum_squares(const SumSquaresParams& p, cudaStream_t stream);

enum class MomentType : uint8_t { kBf16, kFp32 };

// With grad = grads · min(1, max_norm / (sqrt(*norm_squared) + 1e-6)), as
// torch.nn.utils.clip_grad_norm_ and torch.optim.AdamW compute it:
//   m = beta1·m + (1 - beta1)·grad; v = beta2·v + (1 - beta2)·grad²
//   master -= lr · weight_decay · master (where decay says so)
//   master -= lr · m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)
// The step takes m and v before they are rounded to the type that they are kept in.
struct AdamWParams {
  int64_t n = 0;  // a multiple of 8
  float* master = nullptr;
  void* m = nullptr;  // [n] of type `moments`
  void* v = nullptr;
  MomentType moments = MomentType::kFp32;
  const float* grads = nullptr;
  bf16* weights_out = nullptr;     // master rounded to BF16; may be null
  const uint8_t* decay = nullptr;  // [ceil(n / 128)], 1: weight decay applies
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  int64_t step = 1;  // from 1
  const float* norm_squared =
      nullptr;          // on the device, of all gradients; may be null without clipping
  double max_norm = 0;  // 0: no clipping
};
Status adamw(const AdamWParams& p, cudaStream_t stream);

// The same for `batch` matrices of [rows, cols], one after the other, whose new weights are written
// in 128x128 blocks of e4m3: those of cast_block (kernels/quant/cast.h) from the master weights
// rounded to BF16. step.n and step.weights_out are not used; step.decay[0] is for all of it. cols:
// a multiple of 16.
struct AdamWCastParams {
  AdamWParams step;
  int64_t batch = 1, rows = 0, cols = 0;
  Fp8Block out;  // of the first matrix; data and scales of the others follow
};
Status adamw_cast(const AdamWCastParams& p, cudaStream_t stream);

// bias[e] += rate · sign(mean load - load[e]) (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
struct RouterBiasUpdateParams {
  int64_t experts = 0;
  const float* load = nullptr;  // [experts], tokens
  float* bias = nullptr;        // [experts]
  float rate = 0;
};
Status router_bias_update(const RouterBiasUpdateParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
