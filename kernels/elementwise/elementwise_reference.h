// Copies, sums and scalings in plain loops.
#pragma once

#include <algorithm>
#include <cstdint>

namespace orrery::kernels {

// out[(r, h), j] = x[(r, h), column + j] for j < width; heads of x are in_width columns wide.
template <class T>
void copy_slice_reference(int64_t rows, int64_t heads, int64_t in_width, int64_t column,
                          int64_t width, const T* x, T* out) {
  for (int64_t head = 0; head < rows * heads; ++head)
    for (int64_t j = 0; j < width; ++j) out[head * width + j] = x[head * in_width + column + j];
}

// out[(r, h), :] = [a[(r, h), :a_width], b[(r, h), :b_width]]; heads of a are a_from columns apart,
// those of b b_from. With broadcast_b all heads of row r take b[r, :b_width].
template <class T>
void concat_heads_reference(int64_t rows, int64_t heads, const T* a, int64_t a_width, const T* b,
                            int64_t b_width, int64_t a_from, int64_t b_from, bool broadcast_b,
                            T* out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t head = r * heads + h;
      const T* from_a = a + head * a_from;
      const T* from_b = b + (broadcast_b ? r : head) * b_from;
      T* to = out + head * (a_width + b_width);
      for (int64_t j = 0; j < a_width; ++j) to[j] = from_a[j];
      for (int64_t j = 0; j < b_width; ++j) to[a_width + j] = from_b[j];
    }
}

// out[r, j] = sum over heads of x[(r, h), column + j], j < width.
template <class T>
void reduce_heads_reference(int64_t rows, int64_t heads, int64_t in_width, int64_t column,
                            int64_t width, const T* x, T* out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < width; ++j) {
      double sum = 0;
      for (int64_t h = 0; h < heads; ++h)
        sum += static_cast<double>(x[(r * heads + h) * in_width + column + j]);
      out[r * width + j] = static_cast<T>(sum);
    }
}

// out[i] = sum of the `count` inputs' element i, in double. `out` may be one of the inputs.
template <class T>
void add_reference(int64_t n, const T* const* inputs, int count, T* out) {
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int k = 0; k < count; ++k) sum += static_cast<double>(inputs[k][i]);
    out[i] = static_cast<T>(sum);
  }
}

// out [rows, heads · copies, width]: each head of x [rows, heads, width] `copies` times in a row.
template <class T>
void repeat_heads_reference(int64_t rows, int64_t heads, int64_t copies, int64_t width, const T* x,
                            T* out) {
  for (int64_t i = 0; i < rows * heads; ++i)
    for (int64_t c = 0; c < copies; ++c)
      std::copy(x + i * width, x + (i + 1) * width, out + (i * copies + c) * width);
}

// The gradient of that: out [rows, heads, width] sums x [rows, heads, copies, width] over copies.
template <class T>
void sum_heads_reference(int64_t rows, int64_t heads, int64_t copies, int64_t width, const T* x,
                         T* out) {
  for (int64_t i = 0; i < rows * heads; ++i)
    for (int64_t w = 0; w < width; ++w) {
      double sum = 0;
      for (int64_t c = 0; c < copies; ++c)
        sum += static_cast<double>(x[(i * copies + c) * width + w]);
      out[i * width + w] = static_cast<T>(sum);
    }
}

// out[i] = factor · x[i].
template <class T>
void scale_reference(int64_t n, T factor, const T* x, T* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = factor * x[i];
}

}  // namespace orrery::kernels
