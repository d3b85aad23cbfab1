// AdamW, its gradient norm, and the router's balancing bias in plain loops.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/optimizer/clip_reference.h"

namespace orrery::kernels {

// scale · sum of x².
template <class T>
T sum_squares_reference(int64_t n, const T* x, T scale) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return static_cast<T>(static_cast<double>(scale) * sum);
}

// The fields of AdamW (adamw.h); the moments are T arrays here.
template <class T>
struct AdamWReference {
  int64_t n = 0;
  T* master = nullptr;
  T* m = nullptr;
  T* v = nullptr;
  const T* grads = nullptr;
  T* weights_out = nullptr;        // may be nullptr
  const uint8_t* decay = nullptr;  // [ceil(n / 128)], 1: weight decay applies
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  int64_t step = 1;                 // from 1
  const T* norm_squared = nullptr;  // of all gradients; may be nullptr when max_norm is 0
  double max_norm = 0;              // 0: no clipping
};

// torch.optim.AdamW after torch.nn.utils.clip_grad_norm_.
template <class T>
void adamw_reference(const AdamWReference<T>& p) {
  const double clip = clip_reference(p.norm_squared, p.max_norm);
  const double correction1 = 1 - std::pow(p.beta1, static_cast<double>(p.step));
  const double correction2 = 1 - std::pow(p.beta2, static_cast<double>(p.step));
  for (int64_t i = 0; i < p.n; ++i) {
    const double grad = static_cast<double>(p.grads[i]) * clip;
    const double m = p.beta1 * static_cast<double>(p.m[i]) + (1 - p.beta1) * grad;
    const double v = p.beta2 * static_cast<double>(p.v[i]) + (1 - p.beta2) * grad * grad;
    double weight = static_cast<double>(p.master[i]);
    if (p.decay[i / 128] != 0) weight -= p.lr * p.weight_decay * weight;
    weight -= p.lr * (m / correction1) / (std::sqrt(v / correction2) + p.eps);
    p.m[i] = static_cast<T>(m);
    p.v[i] = static_cast<T>(v);
    p.master[i] = static_cast<T>(weight);
    if (p.weights_out != nullptr) p.weights_out[i] = p.master[i];
  }
}

// bias[e] += rate · sign(mean load - load[e]): DeepSeek-V3's balancing without an auxiliary loss
// (arXiv 2412.19437, section 2.1.2). An expert at the mean keeps its bias.
template <class T>
void router_bias_update_reference(int64_t experts, const T* load, T* bias, T rate) {
  double sum = 0;
  for (int64_t e = 0; e < experts; ++e) sum += static_cast<double>(load[e]);
  for (int64_t e = 0; e < experts; ++e) {
    // Without a division, an integer load at the mean compares equal.
    const double mine = static_cast<double>(load[e]) * static_cast<double>(experts);
    if (mine < sum) bias[e] += rate;
    if (mine > sum) bias[e] -= rate;
  }
}

}  // namespace orrery::kernels
