// What the tests of GEMMs share: quantised operands, and the error that a GEMM may make.
#pragma once

#include <cuda_fp8.h>

#include <algorithm>

#include "kernels/base/types.h"
#include "kernels/gemm/gemm_reference.h"
#include "kernels/quant/fake_quant_reference.h"
#include "tests/gpu/gpu.h"

namespace orrery::gpu_test {

inline std::size_t size(int64_t rows, int64_t cols) {
  return static_cast<std::size_t>(rows * cols);
}

// A GEMM in double and, per element, √Σ(a·b)²: the size of a sum's error for a unit error of each
// term.
struct ExpectedGemm {
  std::vector<double> c, magnitude;

  ExpectedGemm(int64_t rows, int64_t ldc)
      : c(size(rows, ldc), 0.0), magnitude(size(rows, ldc), 0.0) {}

  // Adds the product to rows [row, row + m) of C.
  void add(kernels::Layout layout, int64_t row, int64_t m, int64_t n, int64_t k, const double* a,
           int64_t lda, const double* b, int64_t ldb, int64_t ldc) {
    const auto squares = [](const double* x, int64_t rows, int64_t ld) {
      std::vector<double> s(x, x + rows * ld);
      for (double& v : s) v *= v;
      return s;
    };
    const bool a_strided = layout == kernels::Layout::kTN,
               b_strided = layout != kernels::Layout::kNT;
    const std::vector<double> aa = squares(a, a_strided ? k : m, lda);
    const std::vector<double> bb = squares(b, b_strided ? k : n, ldb);
    std::vector<double> sums(size(m, ldc), 0.0);
    kernels::gemm_reference(layout, m, n, k, a, lda, b, ldb, c.data() + row * ldc, ldc, true);
    kernels::gemm_reference(layout, m, n, k, aa.data(), lda, bb.data(), ldb, sums.data(), ldc,
                            false);
    for (std::size_t i = 0; i < sums.size(); ++i)
      magnitude[i + size(row, ldc)] += std::sqrt(sums[i]);
  }

  // Each element within relative·|c| + of_terms·magnitude.
  void require_close(const std::vector<double>& actual, double relative, double of_terms) const {
    REQUIRE(actual.size() == c.size());
    double worst = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < c.size(); ++i) {
      const double allowed = relative * std::abs(c[i]) + of_terms * magnitude[i] + 1e-30;
      const double excess = std::abs(actual[i] - c[i]) / allowed;
      if (!(excess <= worst)) worst = excess, at = i;
      if (std::isnan(excess)) break;
    }
    if (c.empty()) return;
    INFO("element " << at << ": " << actual[at] << ", expected " << c[at] << ", " << worst
                    << " of the tolerance");
    REQUIRE(worst <= 1);
  }
};

// Rounding of the result to BF16, with a little for the double rounding of ties.
constexpr double kBf16Output = 1.01 * kBf16Eps;
// FP32 result: rounding of the old and the new value.
constexpr double kFp32Output = 0x1p-22;
// Of products in FP32: the tensor cores truncate each of the additions to a sum.
constexpr double kBf16Terms = 0x1p-14;
// Of e4m3 products, of which Hopper's tensor cores add up 32 at a time, cut off 13 bits below the
// largest.
constexpr double kFp8Terms = 0x1p-8;

// Random e4m3 values with random scales, on the device and dequantised. Scales differ by up to 2^6
// so that a wrong one shows.
struct Quantised {
  std::vector<double> values;
  DeviceBuffer<kernels::fp8> data;
  DeviceBuffer<float> scales;

  Quantised(Random& random, int64_t rows, int64_t cols, int64_t scale_count)
      : values(size(rows, cols)),
        data(size(rows, cols)),
        scales(static_cast<std::size_t>(scale_count)) {
    std::normal_distribution<double> normal(0, 60);
    std::uniform_real_distribution<double> exponent(-3, 3);
    std::vector<kernels::fp8> stored;
    for (double& v : values) {
      v = kernels::e4m3_round(normal(random.engine));
      stored.push_back(kernels::fp8(static_cast<float>(v)));
    }
    for (int64_t i = 0; i < scale_count; ++i)
      host_scales.push_back(static_cast<float>(std::exp2(exponent(random.engine)) / 60));
    data.upload(stored);
    scales.upload(host_scales);
  }
  std::vector<float> host_scales;
};

// 1x128 tiles. Scales lie tile by tile, each beginning at 16 bytes, or row by row with a gap.
struct QuantisedRows : Quantised {
  kernels::Fp8View view;
  QuantisedRows(Random& random, int64_t rows, int64_t cols, bool tile_major)
      : Quantised(random, rows, cols, (rows + 3) / 4 * 4 * (kernels::tiles(cols) + 1)) {
    const int64_t row_stride = tile_major ? 1 : kernels::tiles(cols) + 1;
    const int64_t tile_stride = tile_major ? (rows + 3) / 4 * 4 : 1;
    view = {data.get(), scales.get(), rows, cols, row_stride, tile_stride};
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        values[size(r, cols) + size(c, 1)] *= static_cast<double>(
            host_scales[static_cast<std::size_t>(r * row_stride + c / 128 * tile_stride)]);
  }
};

// `batch` matrices in 128x128 blocks.
struct QuantisedBlocks : Quantised {
  kernels::Fp8Block view;
  QuantisedBlocks(Random& random, int64_t batch, int64_t rows, int64_t cols)
      : Quantised(random, batch * rows, cols, batch * kernels::tiles(rows) * kernels::tiles(cols)) {
    view = {data.get(), scales.get(), rows, cols};
    for (int64_t r = 0; r < batch * rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const int64_t block_row = r / rows * kernels::tiles(rows) + r % rows / 128;
        values[size(r, cols) + size(c, 1)] *= static_cast<double>(
            host_scales[static_cast<std::size_t>(block_row * kernels::tiles(cols) + c / 128)]);
      }
  }
};

}  // namespace orrery::gpu_test
