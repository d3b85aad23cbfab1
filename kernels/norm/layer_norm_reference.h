// LayerNorm in plain loops. Sums are taken in double, so that float results do not depend on order.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/norm/partition.h"

namespace orrery::kernels {

struct LayerNormRow {
  double mean, inverse;  // 1 / sqrt(variance + eps)
};
template <class T>
LayerNormRow layer_norm_row(int64_t cols, const T* x, T eps) {
  const auto n = static_cast<double>(cols);
  double sum = 0, squares = 0;
  for (int64_t c = 0; c < cols; ++c) sum += static_cast<double>(x[c]);
  const double mean = sum / n;
  for (int64_t c = 0; c < cols; ++c) {
    const double off = static_cast<double>(x[c]) - mean;
    squares += off * off;
  }
  return {mean, 1 / std::sqrt(squares / n + static_cast<double>(eps))};
}

// sum = x + add0 + add1 (each addend, and sum without addends, may be nullptr);
// out = (sum - mean(sum)) · inverse · weight + bias (may be nullptr). All [rows, cols], weight and
// bias [cols]. `sum` may be x.
template <class T>
void layer_norm_reference(int64_t rows, int64_t cols, const T* x, const T* add0, const T* add1,
                          const T* weight, const T* bias, T eps, T* sum, T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* s = x + r * cols;
    if (sum != nullptr) {
      for (int64_t i = r * cols; i < (r + 1) * cols; ++i) {
        T v = x[i];
        if (add0 != nullptr) v += add0[i];
        if (add1 != nullptr) v += add1[i];
        sum[i] = v;
      }
      s = sum + r * cols;
    }
    const LayerNormRow row = layer_norm_row(cols, s, eps);
    for (int64_t c = 0; c < cols; ++c) {
      const T xhat = static_cast<T>((static_cast<double>(s[c]) - row.mean) * row.inverse);
      out[r * cols + c] = xhat * weight[c] + (bias != nullptr ? bias[c] : T(0));
    }
  }
}

// With xhat = (x - mean) · inverse and g = dy · weight:
//   dx = residual_grad (may be nullptr) + inverse · (g - mean(g) - xhat · mean(g · xhat))
//   partial[b, c] = sum over the rows of block b of dy · xhat, and with `bias`
//   partial[b, cols + c] = sum of dy.
// dy is [rows, cols] with rows ld_dy apart; partial [kNormBlocks, cols or 2 · cols].
template <class T>
void layer_norm_backward_reference(int64_t rows, int64_t cols, const T* dy, int64_t ld_dy,
                                   const T* x, const T* weight, const T* residual_grad, T eps,
                                   bool bias, T* dx, T* partial) {
  const int64_t width = bias ? 2 * cols : cols;
  for (int64_t b = 0; b < kNormBlocks; ++b) {
    T* sums = partial + b * width;
    for (int64_t c = 0; c < width; ++c) sums[c] = 0;
    for (int64_t r = norm_block_begin(b, rows); r < norm_block_begin(b + 1, rows); ++r) {
      const T* xr = x + r * cols;
      const T* dyr = dy + r * ld_dy;
      const LayerNormRow row = layer_norm_row(cols, xr, eps);
      double g_sum = 0, dot = 0;
      for (int64_t c = 0; c < cols; ++c) {
        const double g = static_cast<double>(dyr[c] * weight[c]);
        g_sum += g;
        dot += g * (static_cast<double>(xr[c]) - row.mean) * row.inverse;
      }
      const double n = static_cast<double>(cols);
      for (int64_t c = 0; c < cols; ++c) {
        const double xhat = (static_cast<double>(xr[c]) - row.mean) * row.inverse;
        const double g = static_cast<double>(dyr[c] * weight[c]);
        const T residual = residual_grad != nullptr ? residual_grad[r * cols + c] : T(0);
        dx[r * cols + c] =
            residual + static_cast<T>(row.inverse * (g - g_sum / n - xhat * dot / n));
        sums[c] += dyr[c] * static_cast<T>(xhat);
        if (bias) sums[cols + c] += dyr[c];
      }
    }
  }
}

// weight_grad[c] and, where not nullptr, bias_grad[c] += sums over the blocks of `partial`.
template <class T>
void layer_norm_reduce_reference(int64_t cols, const T* partial, T* weight_grad, T* bias_grad) {
  const int64_t width = bias_grad != nullptr ? 2 * cols : cols;
  for (int64_t c = 0; c < width; ++c) {
    double sum = 0;
    for (int64_t b = 0; b < kNormBlocks; ++b) sum += static_cast<double>(partial[b * width + c]);
    (c < cols ? weight_grad[c] : bias_grad[c - cols]) += static_cast<T>(sum);
  }
}

}  // namespace orrery::kernels
