// Stochastic gradient descent without momentum, in a plain loop.
#pragma once

#include <cstdint>

#include "kernels/optimizer/clip_reference.h"

namespace orrery::kernels {

template <class T>
struct SgdReference {
  int64_t n = 0;
  T* master = nullptr;
  const T* grads = nullptr;
  T* weights_out = nullptr;        // may be nullptr
  const uint8_t* decay = nullptr;  // [ceil(n / 128)], 1: weight decay applies
  double lr = 0, weight_decay = 0;
  const T* norm_squared = nullptr;  // of all gradients; may be nullptr when max_norm is 0
  double max_norm = 0;              // 0: no clipping
};

// torch.optim.SGD after torch.nn.utils.clip_grad_norm_: w -= lr (clip · grad + weight_decay · w).
template <class T>
void sgd_reference(const SgdReference<T>& p) {
  const double clip = clip_reference(p.norm_squared, p.max_norm);
  for (int64_t i = 0; i < p.n; ++i) {
    const double weight = static_cast<double>(p.master[i]);
    double step = static_cast<double>(p.grads[i]) * clip;
    if (p.decay[i / 128] != 0) step += p.weight_decay * weight;
    p.master[i] = static_cast<T>(weight - p.lr * step);
    if (p.weights_out != nullptr) p.weights_out[i] = p.master[i];
  }
}

}  // namespace orrery::kernels
