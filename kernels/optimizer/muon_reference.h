// Muon in plain loops: momentum, the products of the Newton-Schulz iteration, the update
// (sim/graph/muon.h has the formulas and their sources).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/gemm/layout.h"

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
  double clip = 1;
  if (p.max_norm > 0) {
    clip = p.max_norm / (std::sqrt(static_cast<double>(*p.norm_squared)) + 1e-6);
    if (clip > 1) clip = 1;  // keeps a NaN
  }
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

// D[m, n] = alpha A·B + beta C, row-major, without gaps between rows.
template <class T>
void scaled_product_reference(Layout layout, int64_t m, int64_t n, int64_t k, double alpha,
                              const T* a, const T* b, double beta, const T* c, T* d) {
  const int64_t a_row = layout == Layout::kTN ? 1 : k, a_col = layout == Layout::kTN ? m : 1;
  const int64_t b_row = layout == Layout::kNT ? 1 : n, b_col = layout == Layout::kNT ? k : 1;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l)
        sum += static_cast<double>(a[i * a_row + l * a_col]) *
               static_cast<double>(b[l * b_row + j * b_col]);
      const double add = beta == 0 ? 0 : beta * static_cast<double>(c[i * n + j]);
      d[i * n + j] = static_cast<T>(alpha * sum + add);
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
