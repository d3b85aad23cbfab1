// Rotary position embedding in plain loops.
#pragma once

#include <cstdint>

#include "kernels/rope/rope_table.h"

namespace orrery::kernels {

// Rotates, in place, columns [column, column + n) of each of the `heads` heads, `width` columns
// wide, of x [rows, heads · width]. Row r is at position r % seq_len. Pair (a, b) becomes
// (a cos - b sin, b cos + a sin); `inverse` negates sin, which is the transpose, the gradient.
template <class T>
void rope_reference(int64_t rows, int64_t heads, int64_t width, int64_t column, int64_t n,
                    int64_t seq_len, const T* table, RopeStyle style, bool inverse, T* x) {
  const bool half = style == RopeStyle::kHalf;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < heads; ++h) {
      T* v = x + (r * heads + h) * width + column;
      for (int64_t i = 0; i < n / 2; ++i) {
        const T* entry = table + ((r % seq_len) * (n / 2) + i) * 2;
        const T cos = entry[0];
        const T sin = inverse ? -entry[1] : entry[1];
        T& first = v[half ? i : 2 * i];
        T& second = v[half ? i + n / 2 : 2 * i + 1];
        const T a = first, b = second;
        first = a * cos - b * sin;
        second = b * cos + a * sin;
      }
    }
}

}  // namespace orrery::kernels
