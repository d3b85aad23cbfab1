#include "kernels/quant/scaled_formats_reference.h"

#include <vector>

#include "tests/catch.h"

using namespace orrery::kernels;

TEST_CASE("E5M2 and E2M1 round to nearest even and saturate", "[kernels]") {
  CHECK(kE5m2Reference.round(1.125) == 1.0);    // between 1 and 1.25, even mantissa
  CHECK(kE5m2Reference.round(1.375) == 1.5);    // between 1.25 and 1.5
  CHECK(kE5m2Reference.round(60000) == 57344);  // (1 + 3/4) * 2^15
  CHECK(kE5m2Reference.round(-1e9) == -57344);
  const double grid[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (const double v : grid) CHECK(kE2m1Reference.round(v) == v);
  CHECK(kE2m1Reference.round(0.25) == 0);  // half way between 0 and 0.5: even
  CHECK(kE2m1Reference.round(0.75) == 1);  // between 0.5 and 1
  CHECK(kE2m1Reference.round(2.5) == 2);   // between 2 and 3
  CHECK(kE2m1Reference.round(5) == 4);     // between 4 and 6
  CHECK(kE2m1Reference.round(-5.1) == -6);
  CHECK(kE2m1Reference.round(100) == 6);
}

TEST_CASE("Stochastic rounding picks the nearer neighbour more often", "[kernels]") {
  // 2.25 lies a quarter of the way from 2 to 3.
  CHECK(stochastic_round_reference(kE2m1Reference, 2.25, 0.24) == 3);
  CHECK(stochastic_round_reference(kE2m1Reference, 2.25, 0.26) == 2);
  CHECK(stochastic_round_reference(kE2m1Reference, -2.25, 0.74) == -2);  // three quarters up
  CHECK(stochastic_round_reference(kE2m1Reference, -2.25, 0.76) == -3);
  CHECK(stochastic_round_reference(kE2m1Reference, 3, 0.0) == 3);  // in the format: stays
  CHECK(stochastic_round_reference(kE2m1Reference, 5.9, 0.0) == 6);
  CHECK(stochastic_round_reference(kE2m1Reference, 7, 0.99) == 6);
}

TEST_CASE("MXFP8 scales are powers of two that nothing exceeds", "[kernels]") {
  CHECK(ceil_power_of_two(1.0F) == 1.0F);
  CHECK(ceil_power_of_two(1.1F) == 2.0F);
  CHECK(ceil_power_of_two(0.25F) == 0.25F);
  // amax 900: 900 / 448 = 2.009, scale 4. 900 / 4 = 225 -> 224 (steps of 16 in [128, 256));
  // 3 / 4 = 0.75 exact; 0.1 / 4 = 0.025 -> steps of 2^-9 below 2^-5: 12.8 -> 13 * 2^-9.
  std::vector<double> x(32, 0.0), out(32, -1.0);
  x[0] = 900, x[1] = 3, x[2] = 0.1;
  fake_quant_mx_block_reference<double>(32, x.data(), 1, out.data());
  CHECK(out[0] == 896);
  CHECK(out[1] == 3);
  CHECK(out[2] == Approx(4 * 13.0 / 512));
  CHECK(out[3] == 0);
  // With a stride, the other elements are left alone.
  std::vector<double> column(64, 7.0);
  std::vector<double> target(64, -1.0);
  fake_quant_mx_block_reference<double>(32, column.data(), 2, target.data());
  CHECK(target[0] == 7);
  CHECK(target[1] == -1);
}

TEST_CASE("NVFP4 blocks are multiples of an E4M3 scale", "[kernels]") {
  // Tensor amax 2688 = 6 * 448: tensor scale 1. A block with amax 12 has scale 2: values are
  // 2 * {0, 0.5, 1, 1.5, 2, 3, 4, 6}.
  std::vector<double> x(16, 0.0), out(16, -1.0);
  x[0] = 12, x[1] = 5, x[2] = -7, x[3] = 0.6, x[4] = 0.4;
  fake_quant_nvfp4_block_reference<double>(2688, 16, x.data(), 1, out.data());
  CHECK(out[0] == 12);
  CHECK(out[1] == 4);   // 2.5: half way between 2 and 3, even
  CHECK(out[2] == -8);  // -3.5: half way between 3 and 4, even
  CHECK(out[3] == 1);   // 0.3 -> 0.5
  CHECK(out[4] == 0);   // 0.2 -> 0
  // amax 13: 13 / 6 = 2.1667 rounds to the E4M3 value 2.25; 13 / 2.25 = 5.78 -> 6.
  x[0] = 13;
  fake_quant_nvfp4_block_reference<double>(2688, 16, x.data(), 1, out.data());
  CHECK(out[0] == 13.5);
  // A block of zeros stays zero.
  std::fill(x.begin(), x.end(), 0.0);
  fake_quant_nvfp4_block_reference<double>(2688, 16, x.data(), 1, out.data());
  CHECK(out[0] == 0);
}

TEST_CASE("The Hadamard transform keeps products", "[kernels]") {
  std::vector<double> a(16), b(16);
  double before = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    a[i] = static_cast<double>(i) - 3;
    b[i] = static_cast<double>(i * i % 7);
    before += a[i] * b[i];
  }
  hadamard16_reference(a.data(), 1);
  hadamard16_reference(b.data(), 1);
  double after = 0;
  for (std::size_t i = 0; i < 16; ++i) after += a[i] * b[i];
  CHECK(after == Approx(before));
  // An outlier of 16 is spread to magnitudes of 4.
  std::vector<double> spike(16, 0.0);
  spike[5] = 16;
  hadamard16_reference(spike.data(), 1);
  for (const double v : spike) CHECK(std::abs(v) == Approx(4));
}

TEST_CASE("One scale per tensor uses the format's whole range", "[kernels]") {
  // amax 448: E4M3 scale 1; E5M2 scale 448 / 57344 = 2^-7.
  const std::vector<double> x = {448, 1.06, -0.003};
  std::vector<double> out(3);
  fake_quant_tensor_reference<double>(kE4m3Reference, 3, x.data(), out.data());
  CHECK(out[0] == 448);
  CHECK(out[1] == 1.0);         // steps of 1/8 from 1 on
  CHECK(out[2] == -2.0 / 512);  // subnormal: steps of 2^-9
  fake_quant_tensor_reference<double>(kE5m2Reference, 3, x.data(), out.data());
  CHECK(out[0] == 448);
  CHECK(out[1] == 1.0);  // steps of 1/4
}
