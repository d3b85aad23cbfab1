// What the tests of quantisation share.
#pragma once

#include "tests/gpu/gpu.h"

namespace orrery::gpu_test {

struct Shape {
  int64_t rows, cols;
};

inline std::size_t size(int64_t rows, int64_t cols) {
  return static_cast<std::size_t>(rows * cols);
}

// Normal BF16 values whose size differs from one 16x16 patch to the next, some of them zeros: a
// scale taken from a wrong place shows.
inline std::vector<double> uneven(Random& random, int64_t rows, int64_t cols) {
  std::vector<double> x = random.normal_bf16(size(rows, cols));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t patch = (r / 16 * 31 + c / 16 * 17) % 9;
      x[size(r, cols) + size(c, 1)] *=
          patch == 8 ? 0 : std::ldexp(1.0, static_cast<int>(4 - patch));
    }
  return x;
}

// Exactly equal, naming the first that is not.
inline void require_equal(const std::vector<double>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    INFO("element " << i);
    if (actual[i] != expected[i]) REQUIRE(actual[i] == expected[i]);
  }
}

}  // namespace orrery::gpu_test
