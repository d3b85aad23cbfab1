// SwiGLU in plain loops: act = silu(gate) · up with gate_up = [gate | up], [rows, 2w].
#pragma once

#include <cmath>
#include <cstdint>

namespace orrery::kernels {

template <class T>
T swiglu_sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}

// out[r, c] = silu(gate[r, c]) · up[r, c], [rows, w].
template <class T>
void swiglu_reference(int64_t rows, int64_t w, const T* gate_up, T* out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < w; ++c) {
      const T gate = gate_up[r * 2 * w + c], up = gate_up[r * 2 * w + w + c];
      out[r * w + c] = gate * swiglu_sigmoid(gate) * up;
    }
}

// With a weight k per row (1 when row_weight is nullptr): act_out (may be nullptr) = k · act
// [rows, w], and dgate_up [rows, 2w] is the gradient of k · act given dact [rows, w].
// d silu(g) / dg = sigmoid(g) · (1 + g · (1 - sigmoid(g))). dgate_up may be gate_up.
template <class T>
void swiglu_backward_reference(int64_t rows, int64_t w, const T* gate_up, const T* dact,
                               const T* row_weight, T* act_out, T* dgate_up) {
  for (int64_t r = 0; r < rows; ++r) {
    const T k = row_weight != nullptr ? row_weight[r] : T(1);
    for (int64_t c = 0; c < w; ++c) {
      const int64_t gate_at = r * 2 * w + c, up_at = gate_at + w;
      const T gate = gate_up[gate_at], up = gate_up[up_at];
      const T s = swiglu_sigmoid(gate), silu = gate * s;
      const T d = k * dact[r * w + c];
      if (act_out != nullptr) act_out[r * w + c] = k * silu * up;
      dgate_up[gate_at] = d * up * s * (T(1) + gate * (T(1) - s));
      dgate_up[up_at] = d * silu;
    }
  }
}

// Gradient of the row weights, from act [rows, w], which has been multiplied by them already:
// out[row_slot[r]] = <act[r], dact[r]> / row_weight[r], 0 for a weight of 0. Rows with slot -1 are
// skipped, and no two rows share a slot.
template <class T>
void swiglu_weight_backward_reference(int64_t rows, int64_t w, const T* act, const T* dact,
                                      const T* row_weight, const int32_t* row_slot, T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    if (row_slot[r] < 0) continue;
    double dot = 0;
    for (int64_t c = 0; c < w; ++c)
      dot += static_cast<double>(act[r * w + c]) * static_cast<double>(dact[r * w + c]);
    out[row_slot[r]] =
        row_weight[r] == T(0) ? T(0) : static_cast<T>(dot / static_cast<double>(row_weight[r]));
  }
}

}  // namespace orrery::kernels
