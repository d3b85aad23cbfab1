#include <random>
#include <vector>

#include "kernels/quant/fake_quant_reference.h"
#include "tests/catch.h"

using namespace orrery::kernels;

namespace {

// All values >= 0 of a format, in order: code = exponent · 2^mantissa_bits + mantissa.
std::vector<double> all_values(int mantissa_bits, int bias, int codes) {
  std::vector<double> values;
  for (int code = 0; code < codes; ++code) {
    const int exponent = code >> mantissa_bits;
    const double fraction = std::ldexp(code - (exponent << mantissa_bits), -mantissa_bits);
    values.push_back(exponent == 0 ? std::ldexp(fraction, 1 - bias)
                                   : std::ldexp(1 + fraction, exponent - bias));
  }
  return values;
}

// Every value is kept; between neighbours the nearer one wins, and the one of even code in the
// middle.
template <class Round>
void check_rounding(const std::vector<double>& values, Round round) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(round(values[i]) == values[i]);
    CHECK(round(-values[i]) == -values[i]);
    if (i + 1 == values.size()) continue;
    const double low = values[i], high = values[i + 1], middle = (low + high) / 2;
    const double nudge = (high - low) * 1e-9;
    CHECK(round(middle - nudge) == low);
    CHECK(round(middle + nudge) == high);
    CHECK(round(middle) == (i % 2 == 0 ? low : high));
    CHECK(round(-middle) == -(i % 2 == 0 ? low : high));
  }
  CHECK(round(values.back() * 1.01) == values.back());
  CHECK(round(1e300) == values.back());
  CHECK(round(-INFINITY) == -values.back());
  CHECK(std::isnan(round(NAN)));
}

std::vector<double> random_values(std::size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> d(0, 1);
  std::vector<double> v(n);
  // What a float holds, as BF16 tensors do.
  for (double& x : v) x = static_cast<double>(static_cast<float>(d(engine)));
  return v;
}

}  // namespace

TEST_CASE("e4m3_round rounds to the nearest of all e4m3 values", "[kernels][quant]") {
  const std::vector<double> values = all_values(3, 7, 0x7f);  // 0x7f is NaN
  CHECK(values.back() == 448);
  CHECK(values[1] == std::ldexp(1.0, -9));
  check_rounding(values, [](double x) { return e4m3_round(x); });
}

TEST_CASE("e5m6_round rounds to the nearest of all E5M6 values", "[kernels][quant]") {
  const std::vector<double> values = all_values(6, 15, 31 << 6);
  CHECK(values.back() == 65024);
  CHECK(values[1] == std::ldexp(1.0, -20));
  check_rounding(values, [](double x) { return e5m6_round(x); });
}

TEST_CASE("fake_quant_rows scales every 128 values of a row alone", "[kernels][quant]") {
  // Two rows of a tile and a half. With amax 448 the scale is 1, with 896 it is 2.
  constexpr int64_t kRows = 2, kCols = 192;
  std::vector<double> x(kRows * kCols, 0.0), out(x.size(), -1.0);
  x[0] = 448, x[1] = 17, x[2] = -19;        // 17 and 19 lie midway between multiples of 2
  x[128] = -896, x[129] = 17, x[191] = 38;  // 17/2 = 8.5 is midway, 38/2 = 19 too
  x[kCols] = 0;                             // the second row stays zero, except its last tile
  x[kCols + 128] = 3;
  fake_quant_rows_reference(kRows, kCols, x.data(), out.data());
  CHECK(out[0] == 448);
  CHECK(out[1] == 16);
  CHECK(out[2] == -20);
  CHECK(out[3] == 0);
  CHECK(out[128] == -896);
  CHECK(out[129] == 16);
  CHECK(out[191] == 40);
  CHECK(out[kCols] == 0);
  CHECK(out[kCols + 128] == Approx(3).epsilon(1e-7));
  CHECK(out[kCols + 129] == 0);
}

TEST_CASE("fake_quant_transposed is fake_quant_rows of the transpose", "[kernels][quant]") {
  constexpr int64_t kRows = 200, kCols = 48;
  const std::vector<double> x = random_values(kRows * kCols, 1);
  std::vector<double> transpose(x.size()), expected(x.size()), out(x.size());
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t c = 0; c < kCols; ++c) transpose[c * kRows + r] = x[r * kCols + c];
  fake_quant_rows_reference(kCols, kRows, transpose.data(), expected.data());
  fake_quant_transposed_reference(kRows, kCols, x.data(), out.data());
  CHECK(out == expected);
}

TEST_CASE("fake_quant_block and _tensor share a scale in two dimensions", "[kernels][quant]") {
  constexpr std::size_t kRows = 130, kCols = 140;
  std::vector<double> x(kRows * kCols, 1.0), out(x.size());
  x[0] = 448;  // block (0, 0): scale 1, so that 1 is exact
  // Block (1, 1): scale 2^10 / 448 · 2^9 = 512, of which 1 is below half of the smallest subnormal.
  x[129 * kCols + 139] = 448 * 1024.0;
  fake_quant_block_reference<double>(kRows, kCols, x.data(), out.data());
  CHECK(out[0] == 448);
  CHECK(out[127 * kCols + 127] == 1);
  CHECK(out[128 * kCols + 127] == Approx(1).epsilon(1e-7));  // block (1, 0)
  CHECK(out[127 * kCols + 128] == Approx(1).epsilon(1e-7));  // block (0, 1)
  CHECK(out[128 * kCols + 128] == 0);
  CHECK(out[129 * kCols + 139] == 448 * 1024.0);

  fake_quant_tensor_reference<double>(kRows, kCols, x.data(), out.data());
  CHECK(out[0] == 448);  // 448/1024 is exact
  CHECK(out[1] == 0);
  CHECK(out[129 * kCols + 139] == 448 * 1024.0);
}

TEST_CASE("fake_quant is close to its input", "[kernels][quant]") {
  constexpr std::size_t kRows = 5, kCols = 300;
  const std::vector<double> x = random_values(kRows * kCols, 2);
  std::vector<double> e4m3(x.size()), e5m6(x.size());
  fake_quant_rows_reference<double>(kRows, kCols, x.data(), e4m3.data());
  fake_quant_e5m6_reference<double>(kRows, kCols, x.data(), e5m6.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    // Half a unit in the last place; subnormals of a tile are below 2^-6 of 1/448 of its amax < 5.
    CHECK(std::abs(e4m3[i] - x[i]) <= std::abs(x[i]) / 15.9 + 5.0 / 448 / 1024);
    CHECK(std::abs(e5m6[i] - x[i]) <= std::abs(x[i]) / 127.9 + 1e-10);
  }
  CHECK(e4m3 != x);
  CHECK(e5m6 != x);

  // In float the same, but for the rounding of the product to a float.
  std::vector<float> narrow(x.begin(), x.end()), out(x.size());
  fake_quant_rows_reference<float>(kRows, kCols, narrow.data(), out.data());
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(out[i] == static_cast<float>(e4m3[i]));
}
