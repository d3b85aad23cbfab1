// What the precision recipes (sim/spec/precision.h) make of values, on the CPU: every value after
// it was quantised and dequantised. Delayed scaling takes the scale of the tensor itself, as when
// its largest magnitude does not change between steps.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/quant/scaled_formats_reference.h"
#include "runtime/io/counter_random.h"
#include "sim/spec/precision.h"

namespace orrery {

// Tensors of the CPU backend are row-major; sums and scales are FP32 as on a GPU.
template <class T>
struct RecipeNumerics {
  Precision precision = Precision::kBf16;
  bool gradient = false;  // of an activation: E5M2 with per-tensor scales, NVFP4 rounds by chance

  // Row-wise copy of x[rows, cols].
  void rows(int64_t rows, int64_t cols, const T* x, T* out) const {
    switch (precision) {
      case Precision::kFp8Delayed:
      case Precision::kFp8Current:
        kernels::fake_quant_tensor_reference<T>(
            gradient ? kernels::kE5m2Reference : kernels::kE4m3Reference, rows * cols, x, out);
        return;
      case Precision::kFp8Rowwise:
        for (int64_t r = 0; r < rows; ++r)
          kernels::fake_quant_tensor_reference<T>(kernels::kE4m3Reference, cols, x + r * cols,
                                                  out + r * cols);
        return;
      case Precision::kMxfp8:
        each_block(rows, cols, kernels::kMxBlockReference, [&](int64_t at, int64_t n) {
          kernels::fake_quant_mx_block_reference<T>(n, x + at, 1, out + at);
        });
        return;
      case Precision::kNvfp4:
        return nvfp4(rows, cols, x, out);
      default:
        std::copy(x, x + rows * cols, out);
    }
  }

  // Column-wise copy: out[cols, rows], which the weight gradient contracts along its rows.
  void columns(int64_t rows, int64_t cols, const T* x, T* out) const {
    std::vector<T> t(static_cast<std::size_t>(rows * cols));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        t[static_cast<std::size_t>(c * rows + r)] = x[r * cols + c];
    if (precision == Precision::kNvfp4)
      for (int64_t c = 0; c < cols; ++c)
        for (int64_t r = 0; r + 16 <= rows; r += 16)
          kernels::hadamard16_reference(t.data() + c * rows + r, 1);
    this->rows(cols, rows, t.data(), out);
  }

 private:
  template <class F>
  static void each_block(int64_t rows, int64_t cols, int64_t block, F&& f) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; c += block) f(r * cols + c, std::min(block, cols - c));
  }

  void nvfp4(int64_t rows, int64_t cols, const T* x, T* out) const {
    constexpr uint64_t kKey = 0x4E564650;
    const float amax = kernels::amax_reference(rows * cols, x, 1);
    each_block(rows, cols, kernels::kNvfp4BlockReference, [&](int64_t at, int64_t n) {
      kernels::fake_quant_nvfp4_block_reference<T>(
          amax, n, x + at, 1, out + at, [&](double v, int64_t i) {
            if (!gradient) return kernels::kE2m1Reference.round(v);
            const uint64_t bits = counter_random(kKey, static_cast<uint64_t>(at + i));
            return kernels::stochastic_round_reference(kernels::kE2m1Reference, v,
                                                       static_cast<double>(bits >> 11) * 0x1.0p-53);
          });
    });
  }
};

// The copy of a weight [rows, cols] that products read; one for both directions, though MXFP8
// scales them differently. NVFP4 weights have 16x16 blocks, whose transpose is the same.
template <class T>
void quantise_weight(Dtype dtype, int64_t rows, int64_t cols, const T* x, T* out) {
  switch (dtype) {
    case Dtype::kFp8Block:
      kernels::fake_quant_block_reference<T>(rows, cols, x, out);
      return;
    case Dtype::kFp8TensorWeight:
      kernels::fake_quant_tensor_reference<T>(kernels::kE4m3Reference, rows * cols, x, out);
      return;
    case Dtype::kMxfp8Weight:
      RecipeNumerics<T>{Precision::kMxfp8}.rows(rows, cols, x, out);
      return;
    case Dtype::kNvfp4Weight: {
      const float amax = kernels::amax_reference(rows * cols, x, 1);
      for (int64_t r = 0; r < rows; r += 16)
        for (int64_t c = 0; c < cols; c += 16) {
          // One block of up to 16x16 elements, gathered and put back.
          std::vector<T> block;
          const int64_t h = std::min<int64_t>(16, rows - r), w = std::min<int64_t>(16, cols - c);
          for (int64_t i = 0; i < h * w; ++i) block.push_back(x[(r + i / w) * cols + c + i % w]);
          const std::vector<T> exact = block;
          kernels::fake_quant_nvfp4_block_reference<T>(amax, h * w, exact.data(), 1, block.data());
          for (int64_t i = 0; i < h * w; ++i)
            out[(r + i / w) * cols + c + i % w] = block[static_cast<std::size_t>(i)];
        }
      return;
    }
    default:
      if (out != x) std::copy(x, x + rows * cols, out);
  }
}

}  // namespace orrery
