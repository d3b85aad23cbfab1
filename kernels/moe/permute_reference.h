// permute and unpermute in plain loops.
#pragma once

#include <cstdint>

namespace orrery::kernels {

// out[r] = x[row_slot[r] / k], zeros where row_slot is -1; out [capacity, cols].
template <class T>
void permute_reference(int64_t capacity, int64_t cols, int64_t k, const int32_t* row_slot,
                       const T* x, T* out) {
  for (int64_t r = 0; r < capacity; ++r)
    for (int64_t c = 0; c < cols; ++c)
      out[r * cols + c] = row_slot[r] < 0 ? T(0) : x[row_slot[r] / k * cols + c];
}

// out[a] = sum over the slots of row a, in order, of weights[row] · y[row] with row =
// slot_row[a · k + slot], without those of -1; out [arrived, cols]. weights [rows of y] may be
// nullptr: 1.
template <class T>
void unpermute_reference(int64_t arrived, int64_t cols, int64_t k, const int32_t* slot_row,
                         const T* weights, const T* y, T* out) {
  for (int64_t a = 0; a < arrived; ++a)
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (int64_t slot = 0; slot < k; ++slot) {
        const int64_t row = slot_row[a * k + slot];
        if (row < 0) continue;
        const double weight = weights != nullptr ? static_cast<double>(weights[row]) : 1;
        sum += weight * static_cast<double>(y[row * cols + c]);
      }
      out[a * cols + c] = static_cast<T>(sum);
    }
}

}  // namespace orrery::kernels
