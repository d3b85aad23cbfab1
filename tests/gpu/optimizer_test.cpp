#include "kernels/optimizer/adamw.h"
#include "kernels/optimizer/adamw_reference.h"
#include "kernels/quant/cast.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

std::vector<float> to_float(const std::vector<double>& v) { return {v.begin(), v.end()}; }

struct Step {
  int64_t n = 0, step = 1;
  double max_norm = 0;
  bool weights_out = true;
};

template <class Moment>
void test_adamw(const Step& s) {
  constexpr bool kBf16 = std::is_same_v<Moment, bf16>;
  Random random;
  INFO("seed " << random.seed << ", n " << s.n << ", step " << s.step << ", max_norm " << s.max_norm
               << ", BF16 moments " << kBf16);
  const std::size_t n = static_cast<std::size_t>(s.n);
  std::vector<double> master = random.normal_bf16(n), m = random.normal_bf16(n, 0.1);
  std::vector<double> v = random.normal_bf16(n, 0.1), weights(n);
  const std::vector<double> grads = random.normal_bf16(n);
  for (double& x : v) x = 0.01 + std::abs(x);  // no step is much larger than lr
  v = to_double(to_bf16(v));
  if (n > 0) m[0] = v[0] = 0;  // a parameter that never had a gradient
  std::vector<uint8_t> decay(static_cast<std::size_t>(tiles(s.n)));
  for (uint8_t& d : decay) d = static_cast<uint8_t>(random.integer(0, 1));
  const std::vector<double> norm_squared{sum_squares_reference(s.n, grads.data(), 1.0)};
  const std::vector<float> norm_squared_f = to_float(norm_squared);

  const DeviceBuffer<float> master_d(to_float(master)), grads_d(to_float(grads));
  const DeviceBuffer<float> norm_d(norm_squared_f);
  const auto moment = [](const std::vector<double>& x) {
    if constexpr (kBf16)
      return to_bf16(x);
    else
      return to_float(x);
  };
  const DeviceBuffer<Moment> m_d(moment(m)), v_d(moment(v));
  const DeviceBuffer<bf16> weights_d(n);
  const DeviceBuffer<uint8_t> decay_d(decay);
  launched(adamw({.n = s.n,
                  .master = master_d.get(),
                  .m = m_d.get(),
                  .v = v_d.get(),
                  .moments = kBf16 ? MomentType::kBf16 : MomentType::kFp32,
                  .grads = grads_d.get(),
                  .weights_out = s.weights_out ? weights_d.get() : nullptr,
                  .decay = decay_d.get(),
                  .lr = 0.01,
                  .beta1 = 0.9,
                  .beta2 = 0.95,
                  .eps = 1e-8,
                  .weight_decay = 0.1,
                  .step = s.step,
                  .norm_squared = norm_d.get(),
                  .max_norm = s.max_norm},
                 nullptr));

  const double exact_norm = norm_squared_f[0];
  AdamWReference<double> want;
  want.n = s.n;
  want.master = master.data(), want.m = m.data(), want.v = v.data(), want.grads = grads.data();
  want.weights_out = weights.data(), want.decay = decay.data();
  want.lr = 0.01, want.beta1 = 0.9, want.beta2 = 0.95, want.eps = 1e-8, want.weight_decay = 0.1;
  want.step = s.step, want.norm_squared = &exact_norm, want.max_norm = s.max_norm;
  adamw_reference(want);
  const std::vector<float> got = master_d.download();
  // The step is about lr in size, and m and its update may cancel.
  require_close(to_double(got), master, 3e-7, 1e-7);
  require_close(to_double(m_d.download()), m, kBf16 ? 1.01 * kBf16Eps : 1e-6, 1e-7);
  require_close(to_double(v_d.download()), v, kBf16 ? 1.01 * kBf16Eps : 1e-6, 1e-12);
  if (s.weights_out) REQUIRE(same_bits(weights_d.download(), to_bf16(to_double(got))));
  master_d.check_canaries();
  m_d.check_canaries();
  v_d.check_canaries();
  weights_d.check_canaries();
}

}  // namespace

TEST_CASE("sum_squares", "[gpu][optimizer]") {
  // Less than a vector per thread, ragged, and more than the 1024 blocks take in one turn.
  for (const int64_t n :
       {int64_t{0}, int64_t{4}, int64_t{1000}, int64_t{8'192'004}, int64_t{20'000'000}}) {
    Random random;
    INFO("seed " << random.seed << ", n " << n);
    const std::vector<double> x = random.normal_bf16(static_cast<std::size_t>(n));
    const DeviceBuffer<float> x_d(to_float(x)), workspace(kSumSquaresWorkspace);
    DeviceBuffer<float> out_d(std::vector<float>{3});
    const SumSquaresParams p{
        .n = n, .x = x_d.get(), .scale = 0.5f, .workspace = workspace.get(), .out = out_d.get()};
    launched(sum_squares(p, nullptr));
    const std::vector<float> got = out_d.download();
    require_close(to_double(got), {3 + sum_squares_reference(n, x.data(), 0.5)}, 1e-6, 1e-6);
    workspace.check_canaries();
    out_d.upload({3});
    launched(sum_squares(p, nullptr));
    REQUIRE(same_bits(out_d.download(), got));
  }
}

TEST_CASE("adamw", "[gpu][optimizer]") {
  const Step steps[] = {{.n = 128 * 100},
                        {.n = 1'000'008, .step = 1000, .max_norm = 1},
                        {.n = 8, .step = 2, .max_norm = 1e6},
                        {.n = 136, .step = 7, .weights_out = false},
                        {.n = 0}};
  for (const Step& s : steps) {
    test_adamw<float>(s);
    test_adamw<bf16>(s);
  }
}

// Bit for bit what the update and then cast_block give.
template <class Moment>
void test_adamw_cast(int64_t batch, int64_t rows, int64_t cols) {
  Random random;
  const int64_t n = batch * rows * cols;
  INFO("seed " << random.seed << ", " << batch << " of " << rows << " x " << cols);
  const auto values = [&](double scale) {
    return random.normal_bf16(static_cast<std::size_t>(n), scale);
  };
  std::vector<double> v = values(0.1);
  for (double& x : v) x = 0.01 + std::abs(x);
  const std::vector<float> master = to_float(values(1));
  const DeviceBuffer<float> grads(to_float(values(1))), norm(std::vector<float>{100});
  const auto moments = [](const std::vector<double>& x) {
    if constexpr (std::is_same_v<Moment, bf16>)
      return to_bf16(x);
    else
      return to_float(x);
  };
  const std::vector<Moment> m_start = moments(values(0.1)), v_start = moments(v);
  const DeviceBuffer<uint8_t> decay(std::vector<uint8_t>(static_cast<std::size_t>(tiles(n)), 1));
  struct Result {
    std::vector<float> master, scales;
    std::vector<Moment> m, v;
    std::vector<fp8> data;
  };
  const auto run = [&](bool at_once) {
    const DeviceBuffer<float> master_d(master);
    const DeviceBuffer<Moment> m(m_start), v_d(v_start);
    const DeviceBuffer<bf16> weights(static_cast<std::size_t>(n));
    const DeviceBuffer<fp8> data(static_cast<std::size_t>(n));
    const DeviceBuffer<float> scales(static_cast<std::size_t>(batch * tiles(rows) * tiles(cols)));
    AdamWParams p{.n = n, .master = master_d.get(), .m = m.get(), .v = v_d.get()};
    p.moments = std::is_same_v<Moment, bf16> ? MomentType::kBf16 : MomentType::kFp32;
    p.grads = grads.get(), p.weights_out = weights.get(), p.decay = decay.get();
    p.lr = 0.01, p.weight_decay = 0.1, p.step = 3;
    p.norm_squared = norm.get(), p.max_norm = 1;
    const Fp8Block out{data.get(), scales.get(), rows, cols};
    if (at_once) {
      launched(adamw_cast({p, batch, rows, cols, out}, nullptr));
    } else {
      launched(adamw(p, nullptr));
      launched(cast_block({batch, rows, cols, weights.get(), out}, nullptr));
    }
    master_d.check_canaries();
    data.check_canaries();
    scales.check_canaries();
    return Result{master_d.download(), scales.download(), m.download(), v_d.download(),
                  data.download()};
  };
  const Result one = run(true), two = run(false);
  REQUIRE(same_bits(one.master, two.master));
  REQUIRE(same_bits(one.m, two.m));
  REQUIRE(same_bits(one.v, two.v));
  REQUIRE(same_bits(one.scales, two.scales));
  REQUIRE(same_bits(one.data, two.data));
}

TEST_CASE("adamw_cast", "[gpu][optimizer]") {
  test_adamw_cast<bf16>(3, 256, 384);
  test_adamw_cast<float>(1, 576, 1040);  // ragged blocks
  test_adamw_cast<bf16>(2, 8, 16);
  CHECK(adamw_cast({.step = {}, .rows = 4, .cols = 16, .out = {nullptr, nullptr, 4, 16}}, nullptr)
            .error == "adamw_cast: out.data is null");
}

TEST_CASE("router_bias_update", "[gpu][optimizer]") {
  for (const int64_t experts : {int64_t{0}, int64_t{1}, int64_t{3}, int64_t{256}, int64_t{1000}}) {
    for (const bool at_mean : {false, true}) {
      Random random;
      INFO("seed " << random.seed << ", experts " << experts << ", at_mean " << at_mean);
      std::vector<float> load, bias;
      for (int64_t e = 0; e < experts; ++e) {
        load.push_back(at_mean ? 4097.0f : static_cast<float>(random.integer(0, 100'000)));
        bias.push_back(static_cast<float>(random.integer(-100, 100)) / 64);
      }
      if (at_mean && experts > 1) load[0] += 2, load[1] -= 2;
      const DeviceBuffer<float> load_d(load), bias_d(bias);
      launched(router_bias_update(
          {.experts = experts, .load = load_d.get(), .bias = bias_d.get(), .rate = 0.001f},
          nullptr));
      std::vector<float> want = bias;
      router_bias_update_reference(experts, load.data(), want.data(), 0.001f);
      REQUIRE(same_bits(bias_d.download(), want));
      bias_d.check_canaries();
    }
  }
}

TEST_CASE("optimizer kernels name bad arguments", "[gpu][optimizer]") {
  alignas(16) float v[8];
  uint8_t decay[1] = {};
  CHECK(sum_squares({.n = 3, .x = v, .workspace = v, .out = v}, nullptr).error ==
        "sum_squares: n is not a multiple of 4");
  CHECK(sum_squares({.n = 4, .x = v, .out = v}, nullptr).error ==
        "sum_squares: x, workspace or out is null");
  AdamWParams p{.n = 8, .master = v, .m = v, .v = v, .grads = v, .decay = decay};
  const auto error = [&] { return adamw(p, nullptr).error; };
  p.step = 0;
  CHECK(error() == "adamw: step is below 1");
  p.step = 1, p.max_norm = 1;
  CHECK(error() == "adamw: norm_squared is null although max_norm is set");
  p.beta2 = 1;
  CHECK(error() == "adamw: beta2 is not in [0, 1)");
  p.beta2 = 0.9, p.n = 12;
  CHECK(error() == "adamw: n is not a multiple of 8");
  p.n = 8, p.decay = nullptr;
  CHECK(error() == "adamw: master, m, v, grads or decay is null");
  CHECK(router_bias_update({.experts = 1, .load = v}, nullptr).error ==
        "router_bias_update: load or bias is null");
}
