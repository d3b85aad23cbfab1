#include "kernels/rope/rope.h"

#include "kernels/rope/rope_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

struct Shape {
  int64_t rows, heads, width, column, n, seq_len;
};

std::vector<float2> pairs(const std::vector<float>& table) {
  std::vector<float2> out(table.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = make_float2(table[2 * i], table[2 * i + 1]);
  return out;
}

void test_rope(const Shape& s, RopeStyle style, bool inverse) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", heads " << s.heads << ", width "
               << s.width << ", column " << s.column << ", n " << s.n << ", style "
               << static_cast<int>(style) << ", inverse " << inverse);
  const RopeScaling scaling{
      .kind = RopeScaling::Kind::kYarn, .theta = 10000, .factor = 4, .original_max_position = 64};
  std::vector<float> table;
  rope_table(s.seq_len, s.n, scaling, table);
  const std::vector<double> x =
      random.normal_bf16(static_cast<std::size_t>(s.rows * s.heads * s.width));
  DeviceBuffer<bf16> x_d(to_bf16(x));
  DeviceBuffer<float2> table_d(pairs(table));
  const RopeParams p{.rows = s.rows,
                     .heads = s.heads,
                     .width = s.width,
                     .column = s.column,
                     .n = s.n,
                     .seq_len = s.seq_len,
                     .table = table_d.get(),
                     .style = style,
                     .inverse = inverse,
                     .x = x_d.get()};
  launched(rope(p, nullptr));
  const std::vector<bf16> got = x_d.download();

  std::vector<double> want = x;
  const std::vector<double> exact_table = to_double(table);
  rope_reference(s.rows, s.heads, s.width, s.column, s.n, s.seq_len, exact_table.data(), style,
                 inverse, want.data());
  require_close(to_double(got), want, 1.01 * kBf16Eps, 3e-6);
  int64_t touched = 0;  // of the columns beside the rotated ones
  for (std::size_t i = 0; i < got.size(); ++i) {
    const int64_t column = static_cast<int64_t>(i) % s.width;
    const bool rotated = column >= s.column && column < s.column + s.n;
    touched += !rotated && double{__bfloat162float(got[i])} != x[i];
  }
  REQUIRE(touched == 0);
  x_d.check_canaries();
  x_d.upload(to_bf16(x));
  launched(rope(p, nullptr));
  REQUIRE(same_bits(x_d.download(), got));
}

}  // namespace

TEST_CASE("rope", "[gpu][rope]") {
  // Heads of MLA and GQA, a shared head, partial rotation, sequences that start over, one row,
  // nothing.
  const Shape shapes[] = {{7, 3, 192, 128, 64, 5},  {70, 1, 64, 0, 64, 70},
                          {33, 2, 128, 0, 128, 16}, {12, 5, 40, 8, 16, 12},
                          {1, 1, 16, 0, 16, 1},     {300, 16, 96, 32, 32, 100},
                          {0, 4, 64, 0, 64, 4},     {5, 4, 64, 16, 0, 4}};
  for (const Shape& s : shapes)
    for (const RopeStyle style : {RopeStyle::kInterleaved, RopeStyle::kHalf})
      for (const bool inverse : {false, true}) test_rope(s, style, inverse);
  for (const bool inverse : {false, true})  // too narrow for kHalf
    test_rope({9, 3, 24, 8, 8, 4}, RopeStyle::kInterleaved, inverse);
}

TEST_CASE("rope names bad arguments", "[gpu][rope]") {
  alignas(16) bf16 x[64];
  alignas(16) float2 table[32];
  RopeParams p{.rows = 1,
               .heads = 1,
               .width = 64,
               .n = 64,
               .seq_len = 1,
               .table = table,
               .style = RopeStyle::kHalf,
               .x = x};
  const auto error = [&] { return rope(p, nullptr).error; };
  p.n = 24;
  CHECK(error() == "rope: n is not a multiple of 16");
  p.style = RopeStyle::kInterleaved, p.n = 4;
  CHECK(error() == "rope: n is not a multiple of 8");
  p.n = 64, p.column = 8;
  CHECK(error() == "rope: column + n is above width");
  p.column = 4;
  CHECK(error() == "rope: column is not a multiple of 8");
  p.column = 0, p.seq_len = 0;
  CHECK(error() == "rope: seq_len is not positive");
  p.seq_len = 1, p.table = nullptr;
  CHECK(error() == "rope: table or x is null");
  p.table = table, p.rows = INT32_MAX;
  CHECK(error() == "rope: rows · heads · n is above 2^34");
}
