// gpt-oss' clipped SwiGLU in plain loops: with g = min(gate, limit) and u = up within ±limit,
// act = g · sigmoid(alpha · g) · (u + 1); gate_up = [gate | up], [rows, 2w].
#pragma once

#include <algorithm>

#include "kernels/activation/swiglu_reference.h"

namespace orrery::kernels {

constexpr double kClippedSwiGluAlpha = 1.702;

template <class T>
void clipped_swiglu_reference(int64_t rows, int64_t w, T limit, const T* gate_up, T* out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < w; ++c) {
      const T g = std::min(gate_up[r * 2 * w + c], limit);
      const T u = std::clamp(gate_up[r * 2 * w + w + c], -limit, limit);
      out[r * w + c] = g * swiglu_sigmoid(T(kClippedSwiGluAlpha) * g) * (u + T(1));
    }
}

// As swiglu_backward_reference; what was clipped has no gradient.
template <class T>
void clipped_swiglu_backward_reference(int64_t rows, int64_t w, T limit, const T* gate_up,
                                       const T* dact, const T* row_weight, T* act_out,
                                       T* dgate_up) {
  const T alpha = T(kClippedSwiGluAlpha);
  for (int64_t r = 0; r < rows; ++r) {
    const T k = row_weight != nullptr ? row_weight[r] : T(1);
    for (int64_t c = 0; c < w; ++c) {
      const int64_t gate_at = r * 2 * w + c, up_at = gate_at + w;
      const T gate = gate_up[gate_at], up = gate_up[up_at];
      const T g = std::min(gate, limit), u = std::clamp(up, -limit, limit);
      const T s = swiglu_sigmoid(alpha * g), glu = g * s;
      const T d = k * dact[r * w + c];
      if (act_out != nullptr) act_out[r * w + c] = k * glu * (u + T(1));
      dgate_up[gate_at] =
          gate > limit ? T(0) : d * (u + T(1)) * s * (T(1) + alpha * g * (T(1) - s));
      dgate_up[up_at] = u != up ? T(0) : d * glu;
    }
  }
}

}  // namespace orrery::kernels
