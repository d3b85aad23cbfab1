#include "kernels/rope/rope_reference.h"

#include "tests/catch.h"
#include "tests/unit/kernels/gradient.h"

using namespace orrery::kernels;
using Kind = RopeScaling::Kind;

namespace {

// rope_scaling of DeepSeek-V3's config.json.
RopeScaling deepseek_v3() {
  return {.kind = Kind::kYarn,
          .theta = 10000,
          .factor = 40,
          .beta_fast = 32,
          .beta_slow = 1,
          .mscale = 1,
          .mscale_all_dim = 1,
          .original_max_position = 4096};
}

}  // namespace

TEST_CASE("rope frequencies without scaling and with linear scaling", "[kernels][rope]") {
  // 10000^(-2i/8): 1, 10^-1, 10^-2, 10^-3.
  const RopeScaling plain{.theta = 10000};
  for (int i = 0; i < 4; ++i) CHECK(rope_inv_freq(i, 8, plain) == Approx(std::pow(10, -i)));
  const RopeScaling linear{.kind = Kind::kLinear, .theta = 10000, .factor = 4};
  CHECK(rope_inv_freq(1, 8, linear) == Approx(0.1 / 4));
  CHECK(rope_attention_factor(plain) == 1);
  CHECK(rope_attention_factor(linear) == 1);
}

TEST_CASE("rope frequencies of YaRN with DeepSeek-V3's parameters", "[kernels][rope]") {
  const RopeScaling s = deepseek_v3();
  // Correction range: 64·ln(4096 / (32·2π)) / (2·ln 10000) = 10.47, floor 10;
  // 64·ln(4096 / 2π) / (2·ln 10000) = 22.51, ceiling 23.
  const auto plain = [](int i) { return std::pow(10000, -i / 32.0); };
  for (const int i : {0, 9, 10}) CHECK(rope_inv_freq(i, 64, s) == Approx(plain(i)));
  for (const int i : {23, 24, 31}) CHECK(rope_inv_freq(i, 64, s) == Approx(plain(i) / 40));
  // In between, (16 - 10) / 13 of the way from the plain to the divided frequency.
  CHECK(rope_inv_freq(16, 64, s) == Approx(plain(16) * (7.0 / 13 + 6.0 / 13 / 40)));
}

TEST_CASE("attention factors and softmax scales of YaRN", "[kernels][rope]") {
  // yarn_get_mscale(40, 1) = 0.1·ln 40 + 1 = 1.3688879.
  CHECK(yarn_get_mscale(40, 1) == Approx(1.3688879454));
  CHECK(yarn_get_mscale(1, 1) == 1);
  RopeScaling s = deepseek_v3();
  CHECK(rope_attention_factor(s) == Approx(1));  // mscale / mscale_all_dim
  // 1.3688879² / sqrt(192) = 1.8738542 / 13.8564065.
  CHECK(softmax_scale(192, s) == Approx(0.1352337789));
  s.mscale = 0.707;  // DeepSeek-V2: (0.1·0.707·ln 40 + 1) / 1.3688879
  CHECK(rope_attention_factor(s) == Approx(1.2608037774 / 1.3688879454));
  s.mscale = s.mscale_all_dim = 0;  // Qwen: neither is there
  CHECK(rope_attention_factor(s) == Approx(1.3688879454));
  CHECK(softmax_scale(64, s) == Approx(1.0 / 8));
  s.attention_factor = 1.25;
  CHECK(rope_attention_factor(s) == 1.25);
  CHECK(softmax_scale(64, RopeScaling{.factor = 40, .mscale_all_dim = 1}) == Approx(1.0 / 8));
}

TEST_CASE("a YaRN range that is a single pair does not divide by zero", "[kernels][rope]") {
  RopeScaling s = deepseek_v3();
  // 6 / 2π is below 1, so both logarithms are negative: the lower end is clamped to 0, and the
  // upper one, -0.01, rounds up to it.
  s.original_max_position = 6;
  CHECK(rope_inv_freq(0, 4, s) == Approx(1));
  CHECK(rope_inv_freq(1, 4, s) == Approx(0.01 / 40));
}

TEST_CASE("rope frequencies of Llama 3.1", "[kernels][rope]") {
  const RopeScaling s{.kind = Kind::kLlama3,
                      .theta = 500000,
                      .factor = 8,
                      .low_freq_factor = 1,
                      .high_freq_factor = 4,
                      .original_max_position = 8192};
  const auto plain = [](int i) { return std::pow(500000, -i / 64.0); };
  // Wavelengths below 8192 / 4 = 2048 tokens stay: pair 28 has 2π·500000^(28/64) = 1956.6.
  for (const int i : {0, 28}) CHECK(rope_inv_freq(i, 128, s) == Approx(plain(i)));
  // Those above 8192 are divided: pair 35 has 8220.3.
  for (const int i : {35, 63}) CHECK(rope_inv_freq(i, 128, s) == Approx(plain(i) / 8));
  // Pair 32: wavelength 2π·sqrt(500000) = 4442.883; smooth = (8192 / 4442.883 - 1) / 3 = 0.281286.
  CHECK(rope_inv_freq(32, 128, s) ==
        Approx(plain(32) * (0.281286 + (1 - 0.281286) / 8)).epsilon(1e-5));
}

TEST_CASE("rope_table holds cosines and sines times the attention factor", "[kernels][rope]") {
  RopeScaling s{.kind = Kind::kYarn, .theta = 100, .factor = 1, .attention_factor = 2};
  std::vector<double> table;
  rope_table(3, 4, s, table);  // frequencies 1 and 100^(-2/4) = 0.1
  REQUIRE(table.size() == 3 * 2 * 2);
  CHECK(table[0] == 2);  // position 0: angle 0
  CHECK(table[1] == 0);
  CHECK(table[2 * 4 + 0] == Approx(2 * std::cos(2.0)));  // position 2, pair 0
  CHECK(table[2 * 4 + 1] == Approx(2 * std::sin(2.0)));
  CHECK(table[2 * 4 + 2] == Approx(2 * std::cos(0.2)));  // position 2, pair 1
  CHECK(table[2 * 4 + 3] == Approx(2 * std::sin(0.2)));
}

TEST_CASE("rope rotates pairs of the chosen columns", "[kernels][rope]") {
  // Two positions, two pairs; a quarter turn is (cos, sin) = (0, 1).
  const std::vector<double> table{1, 0, 1, 0, 0, 1, -1, 0};
  const std::vector<double> x{9, 1, 2, 3, 4, 9};  // one head of 6 columns, rotated from 1 to 4
  std::vector<double> two = x;
  two.insert(two.end(), x.begin(), x.end());
  std::vector<double> v = two;
  rope_reference(2, 1, 6, 1, 4, 2, table.data(), RopeStyle::kInterleaved, false, v.data());
  // Position 0 stays. Position 1: (1, 2) turns to (-2, 1), (3, 4) by half a turn to (-3, -4).
  CHECK(v == std::vector<double>{9, 1, 2, 3, 4, 9, 9, -2, 1, -3, -4, 9});
  v = two;
  rope_reference(2, 1, 6, 1, 4, 2, table.data(), RopeStyle::kHalf, false, v.data());
  // Pairs (1, 3) and (2, 4): (-3, 1) and (-2, -4).
  CHECK(v == std::vector<double>{9, 1, 2, 3, 4, 9, 9, -3, -2, 1, -4, 9});
  v = two;  // as two heads of one row: both at position 0
  rope_reference(1, 2, 6, 1, 4, 2, table.data(), RopeStyle::kHalf, false, v.data());
  CHECK(v == two);
}

TEST_CASE("the inverse rope is the transpose", "[kernels][rope]") {
  constexpr int64_t kRows = 5, kHeads = 2, kWidth = 10, kColumn = 2, kN = 8, kSeqLen = 3;
  std::vector<double> table;
  rope_table(kSeqLen, kN, RopeScaling{.kind = Kind::kYarn, .attention_factor = 1.5}, table);
  for (const RopeStyle style : {RopeStyle::kInterleaved, RopeStyle::kHalf}) {
    const std::vector<double> x = test::normal_values(kRows * kHeads * kWidth, 1);
    const std::vector<double> y = test::normal_values(kRows * kHeads * kWidth, 2);
    std::vector<double> rx = x, ty = y;
    rope_reference(kRows, kHeads, kWidth, kColumn, kN, kSeqLen, table.data(), style, false,
                   rx.data());
    rope_reference(kRows, kHeads, kWidth, kColumn, kN, kSeqLen, table.data(), style, true,
                   ty.data());
    CHECK(rx != x);
    CHECK(test::dot(rx, y) == Approx(test::dot(x, ty)));
  }
}
