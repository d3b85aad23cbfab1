// The choice of experts and its gradient, in FP32.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/moe/router_config.h"

namespace orrery::kernels {

struct RouterParams {
  RouterConfig config = {};
  int64_t tokens = 0;
  const float* logits = nullptr;  // [tokens, experts]
  const float* bias = nullptr;    // [experts]; may be nullptr
  int32_t* routing = nullptr;     // [tokens, 3k] (layout_view.h)
  // [experts], += the number of tokens that chose each expert; may be nullptr. Exact, hence
  // independent of the order of launches, up to 2^24.
  float* load = nullptr;
};
Status router(const RouterParams& p, cudaStream_t stream);

// dlogits from the gradient of the routing weights; the choice is constant (router_reference.h).
struct RouterBackwardParams {
  RouterConfig config = {};
  int64_t tokens = 0;
  const float* logits = nullptr;     // [tokens, experts]
  const int32_t* routing = nullptr;  // [tokens, 3k]; only the ids are read
  const float* dweights = nullptr;   // [tokens, k]
  bf16* dlogits = nullptr;           // [tokens, experts], written whole
};
Status router_backward(const RouterBackwardParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
