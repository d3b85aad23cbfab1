// RMSNorm in plain loops. Sums are taken in double, so that float results do not depend on order.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/norm/partition.h"

namespace orrery::kernels {

// 1 / sqrt(mean of the squares + eps) of one row.
template <class T>
double inverse_rms(int64_t cols, const T* x, T eps) {
  double squares = 0;
  for (int64_t c = 0; c < cols; ++c)
    squares += static_cast<double>(x[c]) * static_cast<double>(x[c]);
  return 1 / std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(eps));
}

// sum = x + add0 + add1 (each addend, and sum without addends, may be nullptr);
// out = sum · inverse_rms(sum) · weight. All [rows, cols], weight [cols]. `sum` may be x.
template <class T>
void rms_norm_reference(int64_t rows, int64_t cols, const T* x, const T* add0, const T* add1,
                        const T* weight, T eps, T* sum, T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* s = x + r * cols;
    if (sum != nullptr) {
      for (int64_t c = 0; c < cols; ++c) {
        const int64_t i = r * cols + c;
        T v = x[i];
        if (add0 != nullptr) v += add0[i];
        if (add1 != nullptr) v += add1[i];
        sum[i] = v;
      }
      s = sum + r * cols;
    }
    const T inverse = static_cast<T>(inverse_rms(cols, s, eps));
    for (int64_t c = 0; c < cols; ++c) out[r * cols + c] = s[c] * inverse * weight[c];
  }
}

// With xhat = x · inverse_rms(x), y = xhat · weight and g = dy · weight:
//   dx = residual_grad (may be nullptr) + inverse_rms(x) · (g - xhat · mean(g · xhat))
//   weight_partial[b, c] = sum over the rows of block b of dy · xhat.
// dy is [rows, cols] with rows ld_dy apart; weight_partial [kNormBlocks, cols].
template <class T>
void rms_norm_backward_reference(int64_t rows, int64_t cols, const T* dy, int64_t ld_dy, const T* x,
                                 const T* weight, const T* residual_grad, T eps, T* dx,
                                 T* weight_partial) {
  for (int64_t b = 0; b < kNormBlocks; ++b) {
    T* partial = weight_partial + b * cols;
    for (int64_t c = 0; c < cols; ++c) partial[c] = 0;
    for (int64_t r = norm_block_begin(b, rows); r < norm_block_begin(b + 1, rows); ++r) {
      const T* xr = x + r * cols;
      const T* dyr = dy + r * ld_dy;
      const T inverse = static_cast<T>(inverse_rms(cols, xr, eps));
      double dot = 0;
      for (int64_t c = 0; c < cols; ++c)
        dot += static_cast<double>(dyr[c] * weight[c]) * static_cast<double>(xr[c] * inverse);
      const T mean = static_cast<T>(dot / static_cast<double>(cols));
      for (int64_t c = 0; c < cols; ++c) {
        const T xhat = xr[c] * inverse;
        const T residual = residual_grad != nullptr ? residual_grad[r * cols + c] : T(0);
        dx[r * cols + c] = residual + inverse * (dyr[c] * weight[c] - xhat * mean);
        partial[c] += dyr[c] * xhat;
      }
    }
  }
}

// weight_grad[c] += sum over blocks of partial[b, c].
template <class T>
void rms_norm_reduce_reference(int64_t cols, const T* partial, T* weight_grad) {
  for (int64_t c = 0; c < cols; ++c) {
    double sum = 0;
    for (int64_t b = 0; b < kNormBlocks; ++b) sum += static_cast<double>(partial[b * cols + c]);
    weight_grad[c] += static_cast<T>(sum);
  }
}

}  // namespace orrery::kernels
