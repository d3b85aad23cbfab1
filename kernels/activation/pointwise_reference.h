// Ungated activations in plain loops.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace orrery::kernels {

// kGelu: x·Phi(x). kGeluTanh: x/2·(1 + tanh(sqrt(2/pi)·(x + 0.044715·x³))). kSquaredRelu:
// max(x, 0)².
enum class Pointwise : uint8_t { kGelu, kGeluTanh, kSquaredRelu };

template <class T>
T pointwise(Pointwise f, T x) {
  switch (f) {
    case Pointwise::kGelu:
      return x * T(0.5) * (T(1) + std::erf(x * T(std::numbers::sqrt2 / 2)));
    case Pointwise::kGeluTanh: {
      const T u = T(std::sqrt(2 / std::numbers::pi)) * (x + T(0.044715) * x * x * x);
      return T(0.5) * x * (T(1) + std::tanh(u));
    }
    case Pointwise::kSquaredRelu:
      return x > T(0) ? x * x : T(0);
  }
  return x;
}

template <class T>
T pointwise_derivative(Pointwise f, T x) {
  switch (f) {
    case Pointwise::kGelu: {
      const T density = std::exp(-x * x / T(2)) * T(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
      return T(0.5) * (T(1) + std::erf(x * T(std::numbers::sqrt2 / 2))) + x * density;
    }
    case Pointwise::kGeluTanh: {
      const T a = T(std::sqrt(2 / std::numbers::pi));
      const T t = std::tanh(a * (x + T(0.044715) * x * x * x));
      return T(0.5) * (T(1) + t) +
             T(0.5) * x * (T(1) - t * t) * a * (T(1) + T(3 * 0.044715) * x * x);
    }
    case Pointwise::kSquaredRelu:
      return x > T(0) ? T(2) * x : T(0);
  }
  return T(1);
}

// out[i] = f(x[i]).
template <class T>
void pointwise_reference(Pointwise f, int64_t n, const T* x, T* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = pointwise(f, x[i]);
}

// With a weight k per row (1 when row_weight is nullptr): act_out (may be nullptr) = k · f(x), and
// dx is the gradient of k · f(x) given dact; all [rows, w].
template <class T>
void pointwise_backward_reference(Pointwise f, int64_t rows, int64_t w, const T* x, const T* dact,
                                  const T* row_weight, T* act_out, T* dx) {
  for (int64_t r = 0; r < rows; ++r) {
    const T k = row_weight != nullptr ? row_weight[r] : T(1);
    for (int64_t i = r * w; i < (r + 1) * w; ++i) {
      const T value = x[i];
      if (act_out != nullptr) act_out[i] = k * pointwise(f, value);
      dx[i] = k * dact[i] * pointwise_derivative(f, value);
    }
  }
}

}  // namespace orrery::kernels
