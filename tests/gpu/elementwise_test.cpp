#include "kernels/elementwise/elementwise.h"

#include <memory>

#include "kernels/elementwise/elementwise_reference.h"
#include "kernels/elementwise/head_parts.h"
#include "kernels/elementwise/head_parts_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;
using Bf16Buffer = DeviceBuffer<bf16>;

namespace {

std::size_t size(int64_t a, int64_t b, int64_t c) { return static_cast<std::size_t>(a * b * c); }

struct Slice {
  int64_t rows, heads, in_width, column, width;
};
// The whole width, its middle, one head, many heads, one row, nothing.
const Slice kSlices[] = {{5, 3, 192, 128, 64}, {33, 1, 576, 512, 64}, {7, 128, 24, 8, 8},
                         {300, 16, 64, 0, 64}, {1, 2, 256, 0, 128},   {0, 4, 64, 0, 64}};

void test_copy_slice(const Slice& s) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", heads " << s.heads << ", in_width "
               << s.in_width << ", column " << s.column << ", width " << s.width);
  const std::vector<double> x = random.normal_bf16(size(s.rows, s.heads, s.in_width));
  std::vector<double> want(size(s.rows, s.heads, s.width));
  Bf16Buffer x_d(to_bf16(x)), out_d(want.size());
  launched(copy_slice({.rows = s.rows,
                       .heads = s.heads,
                       .in_width = s.in_width,
                       .column = s.column,
                       .width = s.width,
                       .x = x_d.get(),
                       .out = out_d.get()},
                      nullptr));
  copy_slice_reference(s.rows, s.heads, s.in_width, s.column, s.width, x.data(), want.data());
  REQUIRE(same_bits(out_d.download(), to_bf16(want)));
  out_d.check_canaries();
}

void test_reduce_heads(const Slice& s) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", heads " << s.heads << ", in_width "
               << s.in_width << ", column " << s.column << ", width " << s.width);
  const std::vector<double> x = random.normal_bf16(size(s.rows, s.heads, s.in_width));
  std::vector<double> want(size(s.rows, 1, s.width));
  Bf16Buffer x_d(to_bf16(x)), out_d(want.size());
  const ReduceHeadsParams p{.rows = s.rows,
                            .heads = s.heads,
                            .in_width = s.in_width,
                            .column = s.column,
                            .width = s.width,
                            .x = x_d.get(),
                            .out = out_d.get()};
  launched(reduce_heads(p, nullptr));
  const std::vector<bf16> got = out_d.download();
  reduce_heads_reference(s.rows, s.heads, s.in_width, s.column, s.width, x.data(), want.data());
  require_close(to_double(got), want, 1.01 * kBf16Eps, 3e-5);
  out_d.check_canaries();
  launched(reduce_heads(p, nullptr));
  REQUIRE(same_bits(out_d.download(), got));
}

void test_concat(int64_t rows, int64_t heads, int64_t a_width, int64_t b_width, int64_t a_from,
                 int64_t b_from, bool broadcast) {
  Random random;
  INFO("seed " << random.seed << ", rows " << rows << ", heads " << heads << ", a_width " << a_width
               << ", b_width " << b_width << ", broadcast " << broadcast);
  const std::vector<double> a = random.normal_bf16(size(rows, heads, a_from));
  const std::vector<double> b = random.normal_bf16(size(rows, broadcast ? 1 : heads, b_from));
  std::vector<double> want(size(rows, heads, a_width + b_width));
  Bf16Buffer a_d(to_bf16(a)), b_d(to_bf16(b)), out_d(want.size());
  launched(concat_heads({.rows = rows,
                         .heads = heads,
                         .a = a_d.get(),
                         .a_width = a_width,
                         .b = b_d.get(),
                         .b_width = b_width,
                         .a_from = a_from,
                         .b_from = b_from,
                         .broadcast_b = broadcast,
                         .out = out_d.get()},
                        nullptr));
  concat_heads_reference(rows, heads, a.data(), a_width, b.data(), b_width, a_from, b_from,
                         broadcast, want.data());
  REQUIRE(same_bits(out_d.download(), to_bf16(want)));
  out_d.check_canaries();
}

void test_add(int64_t n, int count) {
  Random random;
  INFO("seed " << random.seed << ", n " << n << ", count " << count);
  std::vector<std::vector<double>> inputs;
  std::vector<std::unique_ptr<Bf16Buffer>> inputs_d;
  AddParams p{.n = n, .count = count};
  const double* pointers[4] = {};
  for (int k = 0; k < count; ++k) {
    inputs.push_back(random.normal_bf16(static_cast<std::size_t>(n)));
    inputs_d.push_back(std::make_unique<Bf16Buffer>(to_bf16(inputs.back())));
    p.inputs[k] = inputs_d.back()->get();
    pointers[k] = inputs.back().data();
  }
  std::vector<double> want(static_cast<std::size_t>(n));
  Bf16Buffer out_d(want.size());
  p.out = out_d.get();
  launched(add(p, nullptr));
  const std::vector<bf16> got = out_d.download();
  add_reference(n, pointers, count, want.data());
  require_close(to_double(got), want, 1.01 * kBf16Eps, 3e-6);
  out_d.check_canaries();
  p.out = inputs_d.back()->get();
  launched(add(p, nullptr));
  REQUIRE(same_bits(inputs_d.back()->download(), got));
}

void test_scale(int64_t n, float factor) {
  Random random;
  INFO("seed " << random.seed << ", n " << n << ", factor " << factor);
  const std::vector<double> x = random.normal_bf16(static_cast<std::size_t>(n));
  std::vector<double> want(x.size());
  Bf16Buffer x_d(to_bf16(x)), out_d(x.size());
  launched(scale({.n = n, .factor = factor, .x = x_d.get(), .out = out_d.get()}, nullptr));
  const std::vector<bf16> got = out_d.download();
  scale_reference<double>(n, factor, x.data(), want.data());
  require_close(to_double(got), want, 1.01 * kBf16Eps, 1e-12);
  out_d.check_canaries();
  launched(scale({.n = n, .factor = factor, .x = x_d.get(), .out = x_d.get()}, nullptr));
  REQUIRE(same_bits(x_d.download(), got));
}

}  // namespace

TEST_CASE("copy_slice", "[gpu][elementwise]") {
  for (const Slice& s : kSlices) test_copy_slice(s);
}

TEST_CASE("reduce_heads", "[gpu][elementwise]") {
  for (const Slice& s : kSlices) test_reduce_heads(s);
}

TEST_CASE("concat_heads", "[gpu][elementwise]") {
  test_concat(5, 3, 128, 64, 256, 64, true);     // k of MLA: k_nope beside the shared k_rope
  test_concat(5, 3, 128, 128, 192, 128, false);  // gradient of k_nope and v
  test_concat(33, 1, 512, 64, 512, 64, false);
  test_concat(1, 128, 8, 16, 24, 40, true);
  test_concat(3, 2, 0, 16, 8, 16, false);
  test_concat(3, 2, 16, 0, 16, 8, true);
  test_concat(0, 2, 16, 16, 16, 16, true);
}

TEST_CASE("add and scale", "[gpu][elementwise]") {
  for (const int64_t n : {int64_t{0}, int64_t{8}, int64_t{2048}, int64_t{100'008}}) {
    for (const int count : {1, 2, 3, 4}) test_add(n, count);
    for (const float factor : {0.0f, 0.5f, -1.7f}) test_scale(n, factor);
  }
}

TEST_CASE("elementwise kernels name bad arguments", "[gpu][elementwise]") {
  alignas(16) bf16 v[64];
  CHECK(
      copy_slice({.rows = 1, .heads = 1, .in_width = 64, .column = 4, .width = 8, .x = v, .out = v},
                 nullptr)
          .error == "copy_slice: column is not a multiple of 8");
  CHECK(copy_slice({.rows = 1, .heads = 1, .in_width = 64, .width = 72, .x = v, .out = v}, nullptr)
            .error == "copy_slice: column + width is above in_width");
  CHECK(reduce_heads({.rows = 1, .heads = 0, .in_width = 64, .width = 8, .x = v, .out = v}, nullptr)
            .error == "reduce_heads: heads is 0");
  CHECK(reduce_heads({.rows = 1, .heads = 1, .in_width = 64, .width = 8, .x = v}, nullptr).error ==
        "reduce_heads: x or out is null");
  ConcatHeadsParams c{.rows = 1,
                      .heads = 1,
                      .a = v,
                      .a_width = 8,
                      .b = v,
                      .b_width = 8,
                      .a_from = 8,
                      .b_from = 4,
                      .out = v};
  CHECK(concat_heads(c, nullptr).error ==
        "concat_heads: b_from is below b_width or not a multiple of 8");
  c.b_from = 8, c.b = nullptr;
  CHECK(concat_heads(c, nullptr).error == "concat_heads: b is null");
  CHECK(add({.n = 8, .inputs = {v}, .count = 5, .out = v}, nullptr).error ==
        "add: count is not 1 to 4");
  CHECK(add({.n = 8, .inputs = {v, v + 1}, .count = 2, .out = v}, nullptr).error ==
        "add: inputs[1] is null or not 16-byte aligned");
  CHECK(scale({.n = 9, .x = v, .out = v}, nullptr).error == "scale: n is not a multiple of 8");
}

namespace {

void test_head_parts(int64_t sequences, int64_t length, int64_t width, int64_t first,
                     int64_t parts) {
  Random random;
  INFO("seed " << random.seed << ", sequences " << sequences << ", length " << length << ", width "
               << width << ", first " << first << ", parts " << parts);
  const std::vector<double> x = random.normal_bf16(size(sequences, length, width));
  std::vector<double> split(x.size());
  Bf16Buffer x_d(to_bf16(x)), split_d(x.size()), back_d(x.size());
  HeadPartsParams p{sequences, length, width, first, parts, x_d.get(), split_d.get()};
  launched(split_heads(p, nullptr));
  head_parts_reference(sequences, length, width, first, parts, true, x.data(), split.data());
  REQUIRE(same_bits(split_d.download(), to_bf16(split)));
  split_d.check_canaries();
  p.x = split_d.get(), p.out = back_d.get();
  launched(join_heads(p, nullptr));
  REQUIRE(same_bits(back_d.download(), to_bf16(x)));
  back_d.check_canaries();
}

}  // namespace

TEST_CASE("heads are cut into ranks' parts and put together again", "[gpu][elementwise]") {
  test_head_parts(1, 300, 512, 0, 2);   // queries
  test_head_parts(3, 37, 384, 256, 4);  // keys and values, wide keys
  test_head_parts(2, 5, 48, 48, 3);     // one kind, named as the first
  test_head_parts(2, 700, 2560, 1280, 1);
  test_head_parts(0, 5, 64, 0, 2);
  HeadPartsParams p{1, 4, 64, 24, 2};
  CHECK(split_heads(p, nullptr).error == "split_heads: a piece of a row is not a multiple of 8");
  p.first = 32;
  CHECK(join_heads(p, nullptr).error == "join_heads: x or out is null");
}

TEST_CASE("FP32 values are scaled", "[gpu][elementwise]") {
  Random random;
  INFO("seed " << random.seed);
  const std::vector<double> values = random.normal_bf16(1003);
  const std::vector<float> x(values.begin(), values.end());
  std::vector<float> want;
  for (const float v : x) want.push_back(3 * v);
  const DeviceBuffer<float> x_d(x), out_d(x.size());
  launched(scale_fp32({1003, 3, x_d.get(), out_d.get()}, nullptr));
  REQUIRE(out_d.download() == want);
  out_d.check_canaries();
  launched(scale_fp32({}, nullptr));
}
