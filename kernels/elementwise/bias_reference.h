// Biases, gates, positions and dropout in plain loops.
#pragma once

#include <cmath>
#include <cstdint>

namespace orrery::kernels {

// x[r, c] += bias[c].
template <class T>
void add_bias_reference(int64_t rows, int64_t cols, const T* bias, T* x) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) x[r * cols + c] += bias[c];
}

// grad[c] += sum over rows of row_weight[r] (1 when nullptr) · dy[r, c].
template <class T>
void bias_backward_reference(int64_t rows, int64_t cols, const T* dy, const T* row_weight,
                             T* grad) {
  for (int64_t c = 0; c < cols; ++c) {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r)
      sum += static_cast<double>(dy[r * cols + c]) *
             (row_weight != nullptr ? static_cast<double>(row_weight[r]) : 1.0);
    grad[c] += static_cast<T>(sum);
  }
}

// x[r] += table[r % length].
template <class T>
void add_positions_reference(int64_t rows, int64_t cols, int64_t length, const T* table, T* x) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) x[r * cols + c] += table[r % length * cols + c];
}

// grad[r % length] += dx[r].
template <class T>
void positions_backward_reference(int64_t rows, int64_t cols, int64_t length, const T* dx,
                                  T* grad) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) grad[r % length * cols + c] += dx[r * cols + c];
}

// out[r] = sigmoid(logit[r]) · x[r].
template <class T>
void gate_reference(int64_t rows, int64_t cols, const T* x, const T* logit, T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const T s = T(1) / (T(1) + std::exp(-logit[r]));
    for (int64_t c = 0; c < cols; ++c) out[r * cols + c] = s * x[r * cols + c];
  }
}

// dx = sigmoid(logit) · dy; dlogit[r] = s · (1 - s) · <dy[r], x[r]>.
template <class T>
void gate_backward_reference(int64_t rows, int64_t cols, const T* dy, const T* x, const T* logit,
                             T* dx, T* dlogit) {
  for (int64_t r = 0; r < rows; ++r) {
    const T s = T(1) / (T(1) + std::exp(-logit[r]));
    double dot = 0;
    for (int64_t i = r * cols; i < (r + 1) * cols; ++i) {
      dot += static_cast<double>(dy[i]) * static_cast<double>(x[i]);
      dx[i] = s * dy[i];
    }
    dlogit[r] = static_cast<T>(static_cast<double>(s * (T(1) - s)) * dot);
  }
}

}  // namespace orrery::kernels
