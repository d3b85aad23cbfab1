// Block-scaled quantisation on the CPU: every value after it was quantised and dequantised.
// Plain C++: the GPU tests compare with it, and the CPU backend computes with the values that
// the FP8 GEMMs see.
//
// A tile's scale is amax/max of the format in FP32 (1 for a tile of zeros); the stored value is
// x/scale, divided in FP32, rounded to nearest even; the result is stored · scale.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace orrery::kernels {

// A sign, an exponent and `mantissa` bits; subnormals, no infinity.
struct MinifloatReference {
  int mantissa;
  int min_exponent;  // of normal values
  double max;        // largest finite value

  // Round to nearest even, saturating at ±max. NaN stays NaN.
  double round(double x) const {
    if (std::isnan(x) || x == 0) return x;
    if (std::abs(x) >= max) return std::copysign(max, x);
    const double unit = std::ldexp(1.0, std::max(std::ilogb(x), min_exponent) - mantissa);
    return std::clamp(std::nearbyint(x / unit) * unit, -max, max);
  }
};

// E4M3 (OCP 8-bit floating point, "FN": all-ones is NaN, so the maximum is 448).
constexpr MinifloatReference kE4m3Reference{3, -6, 448.0};
// E5M6: IEEE-like with bias 15, the exponent of all ones reserved.
constexpr MinifloatReference kE5m6Reference{6, -14, 65024.0};

inline double e4m3_round(double x) { return kE4m3Reference.round(x); }
inline double e5m6_round(double x) { return kE5m6Reference.round(x); }

// The scale of a tile whose largest magnitude is amax.
inline float tile_scale_reference(const MinifloatReference& format, float amax) {
  return amax == 0 ? 1.0F : amax / static_cast<float>(format.max);
}

// One tile: element (r, c) is x[r·ld + c] and goes to out[r·out_row + c·out_col].
template <class T>
void fake_quant_tile_reference(const MinifloatReference& format, int64_t rows, int64_t cols,
                               const T* x, int64_t ld, T* out, int64_t out_row, int64_t out_col) {
  float amax = 0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      amax = std::max(amax, std::abs(static_cast<float>(x[r * ld + c])));
  const float scale = tile_scale_reference(format, amax);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const float scaled = static_cast<float>(x[r * ld + c]) / scale;
      const double stored = format.round(static_cast<double>(scaled));
      out[r * out_row + c * out_col] = static_cast<T>(stored * static_cast<double>(scale));
    }
}

constexpr int64_t kTileReference = 128;

// Tiles of `tile_rows` x `tile_cols` elements of x[rows, cols].
template <class T>
void fake_quant_tiles_reference(const MinifloatReference& format, int64_t tile_rows,
                                int64_t tile_cols, int64_t rows, int64_t cols, const T* x, T* out) {
  for (int64_t r = 0; r < rows; r += tile_rows)
    for (int64_t c = 0; c < cols; c += tile_cols)
      fake_quant_tile_reference(format, std::min(tile_rows, rows - r),
                                std::min(tile_cols, cols - c), x + r * cols + c, cols,
                                out + r * cols + c, cols, 1);
}

// 1x128 tiles along a row (activations).
template <class T>
void fake_quant_rows_reference(int64_t rows, int64_t cols, const T* x, T* out) {
  fake_quant_tiles_reference(kE4m3Reference, 1, kTileReference, rows, cols, x, out);
}

// out[cols, rows]: the transpose, in 1x128 tiles along its own rows (128 rows of x share a scale).
template <class T>
void fake_quant_transposed_reference(int64_t rows, int64_t cols, const T* x, T* out) {
  for (int64_t r = 0; r < rows; r += kTileReference)
    for (int64_t c = 0; c < cols; ++c)
      fake_quant_tile_reference(kE4m3Reference, std::min(kTileReference, rows - r), 1,
                                x + r * cols + c, cols, out + c * rows + r, 1, rows);
}

// 128x128 blocks (weights).
template <class T>
void fake_quant_block_reference(int64_t rows, int64_t cols, const T* x, T* out) {
  fake_quant_tiles_reference(kE4m3Reference, kTileReference, kTileReference, rows, cols, x, out);
}

// One scale for the whole tensor.
template <class T>
void fake_quant_tensor_reference(int64_t rows, int64_t cols, const T* x, T* out) {
  fake_quant_tile_reference(kE4m3Reference, rows, cols, x, cols, out, cols, 1);
}

// E5M6 in 1x128 tiles along a row (activations kept for the backward pass).
template <class T>
void fake_quant_e5m6_reference(int64_t rows, int64_t cols, const T* x, T* out) {
  fake_quant_tiles_reference(kE5m6Reference, 1, kTileReference, rows, cols, x, out);
}

}  // namespace orrery::kernels
