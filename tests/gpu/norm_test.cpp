#include <algorithm>

#include "kernels/norm/rms_norm.h"
#include "kernels/norm/rms_norm_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;
using Bf16Buffer = DeviceBuffer<bf16>;

namespace {

constexpr float kEps = 1e-5f;

struct Shape {
  int64_t rows, cols;
};
// One for every variant of the kernels, their limits, ragged and empty ones.
const Shape kShapes[] = {{1, 8},    {5, 256},    {300, 264},  {33, 512},   {64, 1024}, {17, 1536},
                         {7, 2048}, {140, 4096}, {131, 7168}, {133, 8192}, {3, 16384}, {0, 512}};

std::size_t elements(const Shape& s) { return static_cast<std::size_t>(s.rows * s.cols); }

void test_forward(const Shape& s, int addends) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", cols " << s.cols << ", addends "
               << addends);
  const std::vector<double> x = random.normal_bf16(elements(s), 2);
  const std::vector<double> add0 = random.normal_bf16(elements(s));
  const std::vector<double> add1 = random.normal_bf16(elements(s));
  const std::vector<double> weight = random.normal_bf16(static_cast<std::size_t>(s.cols));
  Bf16Buffer x_d(to_bf16(x)), add0_d(to_bf16(add0)), add1_d(to_bf16(add1)), sum_d(x.size());
  Bf16Buffer weight_d(to_bf16(weight)), out_d(x.size());
  const RmsNormParams p{
      .rows = s.rows,
      .cols = s.cols,
      .x = x_d.get(),
      .addend = {addends > 0 ? add0_d.get() : nullptr, addends > 1 ? add1_d.get() : nullptr},
      .weight = weight_d.get(),
      .eps = kEps,
      .sum = sum_d.get(),
      .out = out_d.get()};
  launched(rms_norm(p, nullptr));
  const std::vector<bf16> sum = sum_d.download(), out = out_d.download();

  std::vector<double> want_sum(x.size()), want(x.size());
  rms_norm_reference<double>(s.rows, s.cols, x.data(), addends > 0 ? add0.data() : nullptr,
                             addends > 1 ? add1.data() : nullptr, weight.data(), kEps,
                             want_sum.data(), want.data());
  require_close(to_double(sum), want_sum, 1.01 * kBf16Eps, 1e-6);
  // The norm is that of the rounded sum.
  const std::vector<double> rounded = to_double(sum);
  rms_norm_reference<double>(s.rows, s.cols, rounded.data(), nullptr, nullptr, weight.data(), kEps,
                             nullptr, want.data());
  require_close(to_double(out), want, 1.01 * kBf16Eps, 1e-6);
  sum_d.check_canaries();
  out_d.check_canaries();

  // Again, with the sum in the place of x.
  RmsNormParams in_place = p;
  in_place.sum = x_d.get();
  launched(rms_norm(in_place, nullptr));
  REQUIRE(same_bits(out_d.download(), out));
  REQUIRE(same_bits(x_d.download(), sum));
  if (addends > 0) return;
  in_place.sum = nullptr;
  launched(rms_norm(in_place, nullptr));
  REQUIRE(same_bits(out_d.download(), out));
}

// Rows of dy are ld_dy apart, with NaN in between.
std::vector<double> spread(const Shape& s, int64_t ld_dy, const std::vector<double>& dy) {
  std::vector<double> out(static_cast<std::size_t>(s.rows * ld_dy), NAN);
  for (int64_t r = 0; r < s.rows; ++r)
    std::copy_n(dy.begin() + r * s.cols, s.cols, out.begin() + r * ld_dy);
  return out;
}

void test_backward(const Shape& s, bool residual, int64_t padding) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", cols " << s.cols << ", residual "
               << residual << ", padding " << padding);
  const int64_t ld_dy = s.cols + padding;
  const std::size_t n = elements(s), cols = static_cast<std::size_t>(s.cols);
  const std::vector<double> x = random.normal_bf16(n, 2), weight = random.normal_bf16(cols);
  const std::vector<double> dy = spread(s, ld_dy, random.normal_bf16(n));
  const std::vector<double> residual_grad = random.normal_bf16(n);
  Bf16Buffer x_d(to_bf16(x)), dy_d(to_bf16(dy)), weight_d(to_bf16(weight)), dx_d(n);
  Bf16Buffer residual_d(to_bf16(residual_grad));
  DeviceBuffer<float> partial_d(kNormBlocks * cols);
  const RmsNormBackwardParams p{.rows = s.rows,
                                .cols = s.cols,
                                .dy = dy_d.get(),
                                .ld_dy = ld_dy,
                                .x = x_d.get(),
                                .weight = weight_d.get(),
                                .residual_grad = residual ? residual_d.get() : nullptr,
                                .eps = kEps,
                                .dx = dx_d.get(),
                                .partial = partial_d.get()};
  launched(rms_norm_backward(p, nullptr));
  const std::vector<bf16> dx = dx_d.download();
  const std::vector<float> partial = partial_d.download();
  std::vector<double> want_dx(n), want_partial(partial.size());
  rms_norm_backward_reference<double>(s.rows, s.cols, dy.data(), ld_dy, x.data(), weight.data(),
                                      residual ? residual_grad.data() : nullptr, kEps,
                                      want_dx.data(), want_partial.data());
  // Absolute: FP32 sums over a row, and cancellation between the terms of dx.
  require_close(to_double(dx), want_dx, 1.01 * kBf16Eps, 3e-5);
  require_close(to_double(partial), want_partial, 1e-5, 3e-5);
  dx_d.check_canaries();
  partial_d.check_canaries();

  RmsNormBackwardParams in_place = p;
  if (residual) in_place.dx = residual_d.get();
  launched(rms_norm_backward(in_place, nullptr));
  REQUIRE(same_bits(residual ? residual_d.download() : dx_d.download(), dx));
  REQUIRE(same_bits(partial_d.download(), partial));

  const std::vector<double> before = random.normal_bf16(cols);
  DeviceBuffer<float> grad_d(std::vector<float>(before.begin(), before.end()));
  launched(rms_norm_reduce(
      {.cols = s.cols, .partial = partial_d.get(), .weight_grad = grad_d.get()}, nullptr));
  std::vector<double> want = before, exact = to_double(partial);
  rms_norm_reduce_reference(s.cols, exact.data(), want.data());
  require_close(to_double(grad_d.download()), want, 1e-5, 3e-5);
  grad_d.check_canaries();
}

}  // namespace

TEST_CASE("rms_norm", "[gpu][norm]") {
  for (const Shape& s : kShapes)
    for (const int addends : {0, 1, 2}) test_forward(s, addends);
}

TEST_CASE("rms_norm_backward and rms_norm_reduce", "[gpu][norm]") {
  for (const Shape& s : kShapes) {
    test_backward(s, true, 0);
    test_backward(s, false, 64);
  }
}

TEST_CASE("rms_norm names bad arguments", "[gpu][norm]") {
  alignas(16) bf16 value[8];
  alignas(16) float partial[8];
  RmsNormParams p{.rows = 1, .cols = 8, .x = value, .weight = value, .out = value};
  const auto error = [&] { return rms_norm(p, nullptr).error; };
  p.cols = 7;
  CHECK(error() == "rms_norm: cols is not a positive multiple of 8");
  p.cols = kMaxNormCols + 8;
  CHECK(error() == "rms_norm: cols is above 16384");
  p.cols = 8, p.addend[1] = value;
  CHECK(error() == "rms_norm: sum is null although there is an addend");
  p.sum = value, p.x = value + 1;
  CHECK(error() == "rms_norm: x, addend, weight, sum or out is not 16-byte aligned");
  p.x = nullptr;
  CHECK(error() == "rms_norm: x, weight or out is null");
  p.rows = -1;
  CHECK(error() == "rms_norm: rows is negative or above 2^31 - 1");

  RmsNormBackwardParams b{.rows = 1,
                          .cols = 8,
                          .dy = value,
                          .ld_dy = 4,
                          .x = value,
                          .weight = value,
                          .dx = value,
                          .partial = partial};
  CHECK(rms_norm_backward(b, nullptr).error ==
        "rms_norm_backward: ld_dy is below cols or not a multiple of 8");
  b.ld_dy = 8, b.partial = nullptr;
  CHECK(rms_norm_backward(b, nullptr).error == "rms_norm_backward: partial is null");
  CHECK(rms_norm_reduce({.cols = 8, .partial = partial}, nullptr).error ==
        "rms_norm_reduce: weight_grad is null");
}
