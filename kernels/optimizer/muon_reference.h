// Muon in plain loops: momentum, the products of the Newton-Schulz iteration, the update
// (sim/graph/muon.h has the formulas and their sources).
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/gemm/gemm_reference.h"
#include "kernels/optimizer/clip_reference.h"

namespace orrery::kernels {

// M = mu M + G and U = G + mu M, G being the gradients clipped as torch.nn.utils.clip_grad_norm_
// does.
template <class T>
struct MuonMomentumReference {
  int64_t n = 0;
  T* momentum = nullptr;
  const T* grads = nullptr;
  T* update = nullptr;
  double mu = 0;
  const T* norm_squared = nullptr;  // of all gradients; may be nullptr when max_norm is 0
  double max_norm = 0;              // 0: no clipping
};

template <class T>
void muon_momentum_reference(const MuonMomentumReference<T>& p) {
  const double clip = clip_reference(p.norm_squared, p.max_norm);
  for (int64_t i = 0; i < p.n; ++i) {
    const double g = static_cast<double>(p.grads[i]) * clip;
    const double m = p.mu * static_cast<double>(p.momentum[i]) + g;
    p.update[i] = static_cast<T>(g + p.mu * m);
    p.momentum[i] = static_cast<T>(m);
  }
}

// x over its Frobenius norm plus `floor`.
template <class T>
void normalise_reference(int64_t n, const T* x, double floor, T* out) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double scale = 1 / (std::sqrt(squares) + floor);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(static_cast<double>(x[i]) * scale);
}

// D[m, n] = alpha A·B + beta C, row-major, without gaps between rows; D is none of the operands.
template <class T>
void scaled_product_reference(Layout layout, int64_t m, int64_t n, int64_t k, double alpha,
                              const T* a, const T* b, double beta, const T* c, T* d) {
  gemm_reference(layout, m, n, k, a, layout == Layout::kTN ? m : k, b,
                 layout == Layout::kNT ? k : n, d, n, false);
  for (int64_t i = 0; i < m * n; ++i) {
    const double add = beta == 0 ? 0 : beta * static_cast<double>(c[i]);
    d[i] = static_cast<T>(alpha * static_cast<double>(d[i]) + add);
  }
}

// w = w - lr weight_decay w - rate x.
template <class T>
void muon_update_reference(int64_t n, const T* x, double lr, double rate, double weight_decay,
                           T* master, T* weights_out) {
  for (int64_t i = 0; i < n; ++i) {
    const double w = static_cast<double>(master[i]);
    master[i] = static_cast<T>(w - lr * weight_decay * w - rate * static_cast<double>(x[i]));
    if (weights_out != nullptr) weights_out[i] = master[i];
  }
}

}  // namespace orrery::kernels
