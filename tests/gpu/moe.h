// What the tests of layouts and of dispatch share.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "kernels/base/types.h"
#include "kernels/moe/layout_view.h"
#include "tests/gpu/gpu.h"

namespace orrery::gpu_test {

using Values = std::vector<double>;
using Words = std::vector<int32_t>;

inline std::size_t z(int64_t n) { return static_cast<std::size_t>(n); }

// A routing weight in (0, 1), as a word of routing.
inline int32_t random_weight(Random& random) {
  return kernels::float_to_word(std::uniform_real_distribution<float>(0.01f, 1)(random.engine));
}

// FP8 rows with scales of a row side by side, or tile-major with three unused floats after each
// tile.
struct Fp8Rows {
  Fp8Rows(int64_t rows, int64_t cols, bool tile_major)
      : data(z(rows * cols)), scales(z((rows + 3) * (kernels::tiles(cols) + 1))) {
    view = {data.get(),
            scales.get(),
            rows,
            cols,
            tile_major ? 1 : kernels::tiles(cols),
            tile_major ? rows + 3 : 1};
  }
  // Any bytes: rows are moved, not computed with.
  void randomize(Random& random) {
    std::vector<kernels::fp8> bytes(data.size());
    for (kernels::fp8& b : bytes) b.__x = static_cast<unsigned char>(random.integer(0, 255));
    data.upload(bytes);
    std::vector<float> s(scales.size());
    for (float& x : s) x = static_cast<float>(random.integer(1, 1 << 20));
    scales.upload(s);
  }
  std::size_t scale_at(int64_t r, int64_t tile) const {
    return z(r * view.row_stride + tile * view.tile_stride);
  }
  DeviceBuffer<kernels::fp8> data;
  DeviceBuffer<float> scales;
  kernels::Fp8View view;
};

// Row r < rows of `out` must be row source(r) of x, zeros with scales of 1 for -1, and all else of
// `out`, which was never written before, untouched.
template <class Source>
void check_gathered(const Fp8Rows& x, const Fp8Rows& out, int64_t rows, Source source) {
  const int64_t cols = x.view.cols;
  const Fp8Rows untouched(out.view.rows, cols, out.view.row_stride == 1);
  std::vector<kernels::fp8> want = untouched.data.download(), from = x.data.download();
  std::vector<float> scales = untouched.scales.download(), from_scales = x.scales.download();
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t s = source(r);
    for (int64_t c = 0; c < cols; ++c)
      want[z(r * cols + c)].__x = s < 0 ? 0 : from[z(s * cols + c)].__x;
    for (int64_t t = 0; t < kernels::tiles(cols); ++t)
      scales[out.scale_at(r, t)] = s < 0 ? 1.0f : from_scales[x.scale_at(s, t)];
  }
  const std::vector<kernels::fp8> got = out.data.download();
  const std::vector<float> got_scales = out.scales.download();
  REQUIRE(std::memcmp(got.data(), want.data(), got.size()) == 0);
  REQUIRE(std::memcmp(got_scales.data(), scales.data(), 4 * scales.size()) == 0);
  out.data.check_canaries();
  out.scales.check_canaries();
}

}  // namespace orrery::gpu_test
