#include "kernels/norm/rms_norm_reference.h"
#include "tests/catch.h"
#include "tests/unit/kernels/gradient.h"

using namespace orrery::kernels;
using test::central_difference;
using test::normal_values;

TEST_CASE("rms_norm divides the sum of its inputs by their RMS", "[kernels][norm]") {
  // Sums 3 and 4: mean square 12.5, with eps 3.5 that is 16, so the row is divided by 4.
  const std::vector<double> x{1, 2}, add0{1, 1}, add1{1, 1}, weight{2, 10};
  std::vector<double> sum(2), out(2);
  rms_norm_reference(1, 2, x.data(), add0.data(), add1.data(), weight.data(), 3.5, sum.data(),
                     out.data());
  CHECK(sum == std::vector<double>{3, 4});
  CHECK(out[0] == Approx(3.0 / 4 * 2));
  CHECK(out[1] == Approx(4.0 / 4 * 10));
  // x alone: mean square 2.5, with eps 6.5 that is 9.
  rms_norm_reference<double>(1, 2, x.data(), nullptr, nullptr, weight.data(), 6.5, nullptr,
                             out.data());
  CHECK(out[0] == Approx(1.0 / 3 * 2));
  CHECK(out[1] == Approx(2.0 / 3 * 10));
}

TEST_CASE("rms_norm_backward is the gradient of rms_norm", "[kernels][norm]") {
  constexpr int64_t kRows = 3, kCols = 5, kLdDy = 7;
  constexpr double kEps = 1e-2;
  std::vector<double> x = normal_values(kRows * kCols, 1), weight = normal_values(kCols, 2);
  const std::vector<double> dy = normal_values(kRows * kLdDy, 3);
  const std::vector<double> residual = normal_values(kRows * kCols, 4);
  // The function whose gradient is wanted: <dy, rms_norm(x)> + <residual, x>.
  const auto f = [&] {
    std::vector<double> out(kRows * kCols);
    rms_norm_reference<double>(kRows, kCols, x.data(), nullptr, nullptr, weight.data(), kEps,
                               nullptr, out.data());
    double sum = test::dot(residual, x);
    for (std::size_t r = 0; r < kRows; ++r)
      for (std::size_t c = 0; c < kCols; ++c) sum += dy[r * kLdDy + c] * out[r * kCols + c];
    return sum;
  };
  std::vector<double> dx(kRows * kCols), partial(kNormBlocks * kCols), weight_grad(kCols, 0.5);
  rms_norm_backward_reference(kRows, kCols, dy.data(), kLdDy, x.data(), weight.data(),
                              residual.data(), kEps, dx.data(), partial.data());
  rms_norm_reduce_reference(kCols, partial.data(), weight_grad.data());
  for (std::size_t i = 0; i < x.size(); ++i)
    CHECK(dx[i] == Approx(central_difference(x, i, f)).epsilon(1e-6));
  // The gradient is added to what was there, 0.5.
  for (std::size_t c = 0; c < kCols; ++c)
    CHECK(weight_grad[c] - 0.5 == Approx(central_difference(weight, c, f)).epsilon(1e-6));

  std::vector<double> without(kRows * kCols);
  rms_norm_backward_reference<double>(kRows, kCols, dy.data(), kLdDy, x.data(), weight.data(),
                                      nullptr, kEps, without.data(), partial.data());
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(dx[i] - without[i] == Approx(residual[i]));
}

TEST_CASE("the blocks of rms_norm_backward share out the rows", "[kernels][norm]") {
  for (const int64_t rows : {int64_t{0}, int64_t{1}, int64_t{131}, int64_t{1000}}) {
    CHECK(norm_block_begin(0, rows) == 0);
    CHECK(norm_block_begin(kNormBlocks, rows) == rows);
    for (int64_t b = 0; b < kNormBlocks; ++b) {
      const int64_t count = norm_block_begin(b + 1, rows) - norm_block_begin(b, rows);
      CHECK(count >= rows / kNormBlocks);
      CHECK(count <= rows / kNormBlocks + 1);
    }
  }
}
