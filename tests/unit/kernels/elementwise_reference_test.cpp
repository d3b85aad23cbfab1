#include "kernels/elementwise/elementwise_reference.h"

#include <vector>

#include "kernels/elementwise/head_parts_reference.h"
#include "tests/catch.h"

using namespace orrery::kernels;
using Values = std::vector<double>;

TEST_CASE("copy_slice takes the same columns of every head", "[kernels][elementwise]") {
  const Values x{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};  // [2 rows, 2 heads, 3]
  Values out(8);
  copy_slice_reference(2, 2, 3, 1, 2, x.data(), out.data());
  CHECK(out == Values{1, 2, 4, 5, 7, 8, 10, 11});
}

TEST_CASE("concat_heads joins the first columns of two tensors", "[kernels][elementwise]") {
  const Values a{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};  // [2, 2, 3]
  const Values b{20, 21, 22, 23, 24, 25, 26, 27};        // [2, 2, 2], or [2, 4] shared
  Values out(12);
  concat_heads_reference(2, 2, a.data(), 2, b.data(), 1, 3, 2, false, out.data());
  CHECK(out == Values{0, 1, 20, 3, 4, 22, 6, 7, 24, 9, 10, 26});
  concat_heads_reference(2, 2, a.data(), 1, b.data(), 2, 3, 4, true, out.data());
  CHECK(out == Values{0, 20, 21, 3, 20, 21, 6, 24, 25, 9, 24, 25});
}

TEST_CASE("reduce_heads sums columns over heads", "[kernels][elementwise]") {
  const Values x{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};  // [2, 2, 3]
  Values out(4);
  reduce_heads_reference(2, 2, 3, 1, 2, x.data(), out.data());
  CHECK(out == Values{1 + 4, 2 + 5, 7 + 10, 8 + 11});
}

TEST_CASE("repeat_heads copies heads in a row, sum_heads adds the copies up",
          "[kernels][elementwise]") {
  const Values x{0, 1, 2, 3};  // [1 row, 2 heads, 2]
  Values out(12);
  repeat_heads_reference(1, 2, 3, 2, x.data(), out.data());
  CHECK(out == Values{0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3});
  const Values dy{1, 2, 10, 20, 100, 200, 3, 4, 30, 40, 300, 400};
  Values dx(4);
  sum_heads_reference(1, 2, 3, 2, dy.data(), dx.data());
  CHECK(dx == Values{111, 222, 333, 444});
}

TEST_CASE("add and scale", "[kernels][elementwise]") {
  const Values a{1, 2}, b{10, 20}, c{100, 200};
  const double* const inputs[] = {a.data(), b.data(), c.data()};
  Values out(2);
  add_reference(2, inputs, 3, out.data());
  CHECK(out == Values{111, 222});
  add_reference(2, inputs, 1, out.data());
  CHECK(out == a);
  scale_reference(2, -0.5, b.data(), out.data());
  CHECK(out == Values{-5, -10});
  // In float, a sum is rounded once: (2^24 + 1) + 1 is 2^24 + 2, not 2^24.
  const float large = 16777216, one = 1;
  const float* const floats[] = {&large, &one, &one};
  float sum = 0;
  add_reference(1, floats, 3, &sum);
  CHECK(sum == 16777218);
}

TEST_CASE("head_parts cuts a row's two kinds of heads into pieces", "[kernels][elementwise]") {
  // One sequence of 2 tokens, rows of 4 elements of keys and 2 of values, for 2 ranks.
  const Values x{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15};
  Values split(12), back(12);
  head_parts_reference(1, 2, 6, 4, 2, true, x.data(), split.data());
  CHECK(split == Values{0, 1, 4, 10, 11, 14, 2, 3, 5, 12, 13, 15});
  head_parts_reference(1, 2, 6, 4, 2, false, split.data(), back.data());
  CHECK(back == x);
  // Two sequences of one token: each has its pieces beside each other.
  head_parts_reference(2, 1, 6, 0, 2, true, x.data(), split.data());
  CHECK(split == x);
}
