// Formats of the per-tensor FP8, MXFP8 and NVFP4 recipes on the CPU: every value after it was
// quantised and dequantised, as kernels/quant/fake_quant_reference.h does for the 1x128 tiles.
//
// Per tensor: scale amax / max of the format. MXFP8 (OCP microscaling 1.0): 1x32 blocks of E4M3
// whose scale is the power of two at or above amax / 448, so that nothing saturates. NVFP4 (arXiv
// 2509.25149): 1x16 blocks of E2M1; the tensor's scale g = amax / (6 · 448) brings block scales
// into E4M3's range, a block's is e4m3(amax / 6 / g), and values are multiples of their product.
#pragma once

#include <array>

#include "kernels/quant/fake_quant_reference.h"

namespace orrery::kernels {

// IEEE-like E5M2 without its infinities: saturating.
constexpr MinifloatReference kE5m2Reference{2, -14, 57344.0};
// 0, 0.5, 1, 1.5, 2, 3, 4, 6.
constexpr MinifloatReference kE2m1Reference{1, 0, 6.0};

constexpr int64_t kMxBlockReference = 32;
constexpr int64_t kNvfp4BlockReference = 16;

template <class T>
float amax_reference(int64_t n, const T* x, int64_t stride) {
  float amax = 0;
  for (int64_t i = 0; i < n; ++i)
    amax = std::max(amax, std::abs(static_cast<float>(x[i * stride])));
  return amax;
}

// The smallest power of two not below x > 0.
inline float ceil_power_of_two(float x) {
  int exponent = 0;
  const float fraction = std::frexp(x, &exponent);  // in [0.5, 1)
  return std::ldexp(1.0F, fraction == 0.5F ? exponent - 1 : exponent);
}

template <class T>
void fake_quant_tensor_reference(const MinifloatReference& format, int64_t n, const T* x, T* out) {
  fake_quant_tile_reference(format, 1, n, x, n, out, n, 1);
}

// One block of n elements, `stride` apart in x and in out.
template <class T>
void fake_quant_mx_block_reference(int64_t n, const T* x, int64_t stride, T* out) {
  const float amax = amax_reference(n, x, stride);
  const double scale = amax == 0 ? 1.0 : static_cast<double>(ceil_power_of_two(amax / 448.0F));
  for (int64_t i = 0; i < n; ++i)
    out[i * stride] =
        static_cast<T>(kE4m3Reference.round(static_cast<double>(x[i * stride]) / scale) * scale);
}

// One of the two neighbours of x in the format, the upper one with the share of the way that x has
// come to it: `u` in [0, 1) decides.
inline double stochastic_round_reference(const MinifloatReference& format, double x, double u) {
  if (x == 0 || std::abs(x) >= format.max) return std::clamp(x, -format.max, format.max);
  const double unit =
      std::ldexp(1.0, std::max(std::ilogb(x), format.min_exponent) - format.mantissa);
  const double below = std::floor(x / unit);
  return (below + (u < x / unit - below ? 1.0 : 0.0)) * unit;
}

// `tensor_amax`: of the whole tensor. `round(value, i)`: element i to E2M1.
template <class T, class Round>
void fake_quant_nvfp4_block_reference(float tensor_amax, int64_t n, const T* x, int64_t stride,
                                      T* out, Round&& round) {
  const double tensor_scale =
      tensor_amax == 0 ? 1.0 : static_cast<double>(tensor_amax) / (6.0 * 448.0);
  const double block = static_cast<double>(amax_reference(n, x, stride)) / 6.0;
  const double scale = kE4m3Reference.round(block / tensor_scale) * tensor_scale;
  for (int64_t i = 0; i < n; ++i)
    out[i * stride] =
        scale == 0 ? T(0)
                   : static_cast<T>(round(static_cast<double>(x[i * stride]) / scale, i) * scale);
}
template <class T>
void fake_quant_nvfp4_block_reference(float tensor_amax, int64_t n, const T* x, int64_t stride,
                                      T* out) {
  fake_quant_nvfp4_block_reference(tensor_amax, n, x, stride, out,
                                   [](double v, int64_t) { return kE2m1Reference.round(v); });
}

// The 16-point Hadamard transform with the signs of the pattern below, orthonormal, of 16 elements
// `stride` apart, in place. Both operands of a weight gradient get it along the tokens, where it
// cancels in their product; it spreads outliers over a block. Fixed signs, as training uses them.
template <class T>
void hadamard16_reference(T* x, int64_t stride) {
  constexpr uint32_t kSigns = 0x9E37;  // bit i: x[i] changes its sign
  std::array<double, 16> v{};
  for (std::size_t i = 0; i < 16; ++i) {
    const auto value = static_cast<double>(x[static_cast<int64_t>(i) * stride]);
    v[i] = (kSigns >> i & 1) != 0 ? -value : value;
  }
  for (std::size_t half = 1; half < 16; half *= 2)
    for (std::size_t i = 0; i < 16; ++i)
      if ((i & half) == 0) {
        const double a = v[i], b = v[i + half];
        v[i] = a + b;
        v[i + half] = a - b;
      }
  for (std::size_t i = 0; i < 16; ++i)
    x[static_cast<int64_t>(i) * stride] = static_cast<T>(v[i] / 4);
}

}  // namespace orrery::kernels
