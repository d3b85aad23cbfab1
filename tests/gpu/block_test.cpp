// LayerNorm, ungated activations, biases and positions against their references.
#include <algorithm>

#include "kernels/activation/pointwise.h"
#include "kernels/elementwise/bias.h"
#include "kernels/elementwise/bias_reference.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/layer_norm_reference.h"
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
const Shape kShapes[] = {{1, 8},      {5, 256},    {300, 264},  {64, 1024}, {17, 1536},
                         {140, 4096}, {131, 7168}, {133, 8192}, {3, 16384}, {0, 512}};

std::size_t size(int64_t n) { return static_cast<std::size_t>(n); }

void test_layer_norm(const Shape& s, int addends, bool biased) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", cols " << s.cols << ", addends "
               << addends << ", bias " << biased);
  const std::size_t n = size(s.rows * s.cols), cols = size(s.cols);
  std::vector<double> x = random.normal_bf16(n, 2);
  for (double& v : x) v = std::round(v * 16) / 16 + 3;  // a mean that must be subtracted
  const std::vector<double> add0 = random.normal_bf16(n), add1 = random.normal_bf16(n);
  const std::vector<double> weight = random.normal_bf16(cols), bias = random.normal_bf16(cols);
  Bf16Buffer x_d(to_bf16(x)), add0_d(to_bf16(add0)), add1_d(to_bf16(add1)), sum_d(n), out_d(n);
  Bf16Buffer weight_d(to_bf16(weight)), bias_d(to_bf16(bias));
  const LayerNormParams p{
      .rows = s.rows,
      .cols = s.cols,
      .x = x_d.get(),
      .addend = {addends > 0 ? add0_d.get() : nullptr, addends > 1 ? add1_d.get() : nullptr},
      .weight = weight_d.get(),
      .bias = biased ? bias_d.get() : nullptr,
      .eps = kEps,
      .sum = sum_d.get(),
      .out = out_d.get()};
  launched(layer_norm(p, nullptr));
  const std::vector<bf16> out = out_d.download();
  const std::vector<double> sum = to_double(sum_d.download());
  std::vector<double> want(n);
  // The norm is that of the rounded sum.
  layer_norm_reference<double>(s.rows, s.cols, sum.data(), nullptr, nullptr, weight.data(),
                               biased ? bias.data() : nullptr, kEps, nullptr, want.data());
  require_close(to_double(out), want, 1.01 * kBf16Eps, 1e-4);
  sum_d.check_canaries();
  out_d.check_canaries();
  launched(layer_norm(p, nullptr));
  REQUIRE(same_bits(out_d.download(), out));

  const int64_t ld_dy = s.cols + 8, width = biased ? 2 * s.cols : s.cols;
  const std::vector<double> dy = random.normal_bf16(size(s.rows * ld_dy));
  const std::vector<double> residual = random.normal_bf16(n);
  Bf16Buffer dy_d(to_bf16(dy)), residual_d(to_bf16(residual)), dx_d(n);
  DeviceBuffer<float> partial_d(size(kNormBlocks * width));
  launched(layer_norm_backward({.rows = s.rows,
                                .cols = s.cols,
                                .dy = dy_d.get(),
                                .ld_dy = ld_dy,
                                .x = sum_d.get(),
                                .weight = weight_d.get(),
                                .residual_grad = residual_d.get(),
                                .eps = kEps,
                                .bias = biased,
                                .dx = dx_d.get(),
                                .partial = partial_d.get()},
                               nullptr));
  std::vector<double> want_dx(n), want_partial(size(kNormBlocks * width));
  layer_norm_backward_reference<double>(s.rows, s.cols, dy.data(), ld_dy, sum.data(), weight.data(),
                                        residual.data(), kEps, biased, want_dx.data(),
                                        want_partial.data());
  require_close(to_double(dx_d.download()), want_dx, 1.01 * kBf16Eps, 1e-3);
  require_close(to_double(partial_d.download()), want_partial, 1e-4, 1e-3);
  dx_d.check_canaries();
  partial_d.check_canaries();

  const std::vector<float> ones(cols, 1.0f);
  DeviceBuffer<float> weight_grad_d(ones), bias_grad_d(ones);
  launched(layer_norm_reduce(
      {s.cols, partial_d.get(), weight_grad_d.get(), biased ? bias_grad_d.get() : nullptr},
      nullptr));
  std::vector<double> weight_grad(cols, 1), bias_grad(cols, 1);
  layer_norm_reduce_reference<double>(s.cols, want_partial.data(), weight_grad.data(),
                                      biased ? bias_grad.data() : nullptr);
  require_close(to_double(weight_grad_d.download()), weight_grad, 1e-4, 1e-2);
  require_close(to_double(bias_grad_d.download()), bias_grad, 1e-4, 1e-2);
}

void test_pointwise(Pointwise f, const Shape& s, bool weighted) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", w " << s.cols);
  const std::size_t n = size(s.rows * s.cols);
  const std::vector<double> x = random.normal_bf16(n, 2), dact = random.normal_bf16(n);
  const std::vector<double> weight = random.normal_bf16(size(s.rows));
  Bf16Buffer x_d(to_bf16(x)), dact_d(to_bf16(dact)), out_d(n), dx_d(n);
  DeviceBuffer<float> weight_d(std::vector<float>(weight.begin(), weight.end()));
  launched(pointwise({f, s.rows, s.cols, x_d.get(), out_d.get()}, nullptr));
  std::vector<double> want(n), want_dx(n);
  pointwise_reference<double>(f, static_cast<int64_t>(n), x.data(), want.data());
  require_close(to_double(out_d.download()), want, 1.01 * kBf16Eps, 1e-5);
  launched(pointwise_backward({.f = f,
                               .rows = s.rows,
                               .w = s.cols,
                               .x = x_d.get(),
                               .dact = dact_d.get(),
                               .row_weight = weighted ? weight_d.get() : nullptr,
                               .act_out = out_d.get(),
                               .dx = dx_d.get()},
                              nullptr));
  pointwise_backward_reference<double>(f, s.rows, s.cols, x.data(), dact.data(),
                                       weighted ? weight.data() : nullptr, want.data(),
                                       want_dx.data());
  require_close(to_double(out_d.download()), want, 1.01 * kBf16Eps, 1e-5);
  require_close(to_double(dx_d.download()), want_dx, 1.01 * kBf16Eps, 1e-5);
  out_d.check_canaries();
  dx_d.check_canaries();
}

void test_rows(const Shape& s, int64_t period, int64_t first = 0) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", cols " << s.cols << ", period " << period
               << ", first " << first);
  const std::size_t n = size(s.rows * s.cols), vectors = size(period * s.cols);
  std::vector<double> x = random.normal_bf16(n);
  const std::vector<double> table = random.normal_bf16(vectors);
  Bf16Buffer x_d(to_bf16(x)), table_d(to_bf16(table));
  const std::vector<float> ones(vectors, 1.0f);
  DeviceBuffer<float> grad_d(ones);
  launched(add_rows_backward({s.rows, s.cols, period, x_d.get(), grad_d.get(), first}, nullptr));
  std::vector<double> grad(vectors, 1);
  for (int64_t r = 0; r < s.rows; ++r)
    positions_backward_reference<double>(1, s.cols, 1, x.data() + r * s.cols,
                                         grad.data() + (first + r) % period * s.cols);
  require_close(to_double(grad_d.download()), grad, 1e-5, 1e-3);
  launched(add_rows({s.rows, s.cols, period, table_d.get(), x_d.get(), first}, nullptr));
  for (int64_t r = 0; r < s.rows; ++r)
    add_positions_reference<double>(1, s.cols, 1, table.data() + (first + r) % period * s.cols,
                                    x.data() + r * s.cols);
  require_close(to_double(x_d.download()), x, 1.01 * kBf16Eps, 1e-6);
  x_d.check_canaries();
  grad_d.check_canaries();
}

}  // namespace

TEST_CASE("layer_norm: forward, backward and reduction", "[gpu][norm]") {
  for (const Shape& s : kShapes)
    for (const bool biased : {false, true}) test_layer_norm(s, biased ? 2 : 0, biased);
}

TEST_CASE("layer_norm: wrong arguments launch nothing", "[gpu][norm]") {
  CHECK(layer_norm({.rows = 1, .cols = 12}, nullptr).error.find("multiple of 8") !=
        std::string::npos);
  CHECK(layer_norm_backward({.rows = 1, .cols = 8, .ld_dy = 4}, nullptr).error.find("ld_dy") !=
        std::string::npos);
}

TEST_CASE("pointwise: GELU, its approximation and squared ReLU", "[gpu][activation]") {
  for (const Pointwise f : {Pointwise::kGelu, Pointwise::kGeluTanh, Pointwise::kSquaredRelu})
    for (const bool weighted : {false, true})
      for (const Shape& s : {Shape{1, 8}, Shape{37, 264}, Shape{256, 4096}, Shape{0, 64}})
        test_pointwise(f, s, weighted);
}

TEST_CASE("add_rows: biases and positions, and their gradients", "[gpu][elementwise]") {
  for (const Shape& s : {Shape{1, 8}, Shape{100, 72}, Shape{4096, 3072}, Shape{0, 64}}) {
    test_rows(s, 1);
    test_rows(s, 50);
    test_rows(s, 50, 130);
  }
}
