#include "sim/calibrate/calibrate.h"

#include <algorithm>
#include <cmath>

#include "sim/calibrate/robust.h"
#include "sim/calibrate/summary.h"
#include "tests/catch.h"
#include "tests/unit/calibrate/synthetic.h"

using namespace orrery;
using namespace orrery::testing;

namespace {

const ClassFit& fit_of(const Calibration& c, const std::string& name) {
  const auto it = std::find_if(c.classes.begin(), c.classes.end(),
                               [&](const ClassFit& f) { return f.name == name; });
  REQUIRE(it != c.classes.end());
  return *it;
}

bool near(double a, double b, double part) { return std::abs(a / b - 1) < part; }

}  // namespace

TEST_CASE("Known constants are recovered from the points that they give", "[calibrate]") {
  const GpuSpec truth = known_gpu();
  GpuSpec base = orrery::test::h800();
  base.gemm_bf16.pJ_per_FLOP.value = base.attention_forward.pJ_per_FLOP.value = 0;
  const Measured m = synthetic(truth);
  const Calibration c = calibrate_gpu(m, base);

  CHECK(near(c.gpu.gemm_bf16.mainloop_efficiency.value, 0.81, 0.02));
  CHECK(near(c.gpu.gemm_bf16.tile_overhead_us.value, 2.6, 0.06));
  CHECK(near(c.gpu.gemm_bf16.hbm_efficiency.value, 0.7, 0.02));
  CHECK(near(c.gpu.attention_forward.mainloop_efficiency.value, 0.6, 0.03));
  CHECK(near(c.gpu.attention_forward.softmax_us.value, 0.7, 0.06));
  CHECK(near(c.gpu.attention_forward.tile_overhead_us.value, 5, 0.06));
  CHECK(
      near(c.gpu.hbm_efficiency[static_cast<std::size_t>(AccessPattern::kCast)].value, 0.5, 0.01));
  CHECK(near(c.gpu.launch_gap_us.value, 0.9, 1e-3));
  CHECK(near(c.gpu.kernel_fixed_us.value, 1.5, 0.02));

  const ClassFit& gemm = fit_of(c, "gemm_bf16");
  for (std::size_t i = 0; i < 3; ++i) CHECK(gemm.constants[i].measured);
  const ClassErrors held = summarise(gemm, m, Part::kHeldOut);
  CHECK(held.count == 12);
  CHECK(summarise(gemm, m, Part::kFitted).count == 48);
  CHECK(held.median < 0.02);
  CHECK(summarise(gemm, m, Part::kAll, true).median > 0.03);  // the base is another GPU
  CHECK(c.wild_repeats == 0);
  CHECK(c.unsteady.empty());
}

TEST_CASE("Clocks give energies, and efficiencies at the full clock", "[calibrate]") {
  GpuSpec truth = known_gpu();
  truth.gemm_bf16.pJ_per_FLOP.value = 1.5;  // so that the clock counts
  Measured m = synthetic(truth, false);
  m.highest_sm_clock_MHz = 2000;
  m.power_limit_W = 600;  // the base's is 700
  std::vector<double> pJ;
  for (MeasuredPoint& p : m.points) {
    if (p.family != Family::kGemmBf16) continue;
    p.sm_clock_MHz = 1400;
    p.us.clear();
    p.us.assign(5, 1e6 * point_seconds(truth, p, 0.7));
    // 600 W - 150 W = 0.7^2 * pJ * FLOP/s.
    const double flops = 2.0 * static_cast<double>(p.gemm.m * p.gemm.n * p.gemm.k);
    pJ.push_back(1e12 * 450 * p.us[0] * 1e-6 / (0.49 * flops));
  }
  const Calibration c = calibrate_gpu(m, orrery::test::h800());
  CHECK(near(c.gpu.gemm_bf16.mainloop_efficiency.value, 0.81, 0.02));
  CHECK(near(c.gpu.gemm_bf16.tile_overhead_us.value, 2.6, 0.06));
  CHECK(near(c.gpu.gemm_bf16.pJ_per_FLOP.value, median(pJ), 0.05));  // fitted points of them
  const MeasuredConstant& energy = fit_of(c, "gemm_bf16").constants.back();
  CHECK(energy.pointer == "/gemm_bf16/pJ_per_FLOP");
  CHECK(energy.measured);
  // Attention's points have no clock.
  CHECK(c.gpu.attention_forward.pJ_per_FLOP.value ==
        orrery::test::h800().attention_forward.pJ_per_FLOP.value);
}

TEST_CASE("What no point depends on keeps the base's value", "[calibrate]") {
  GpuSpec base = orrery::test::h800();
  base.gemm_bf16.pJ_per_FLOP.value = 0;
  const Calibration c = calibrate_gpu(synthetic(known_gpu(), false), base);
  const ClassFit& gemm = fit_of(c, "gemm_bf16");
  REQUIRE(gemm.constants[2].pointer == "/gemm_bf16/hbm_efficiency");
  CHECK_FALSE(gemm.constants[2].measured);
  CHECK(c.gpu.gemm_bf16.hbm_efficiency.value == base.gemm_bf16.hbm_efficiency.value);
  CHECK(gemm.constants[0].measured);
  // No FP8 point: no class, the base's constants.
  CHECK(std::none_of(c.classes.begin(), c.classes.end(),
                     [](const ClassFit& f) { return f.name == "gemm_fp8"; }));
  CHECK(c.gpu.gemm_fp8.mainloop_efficiency.value == base.gemm_fp8.mainloop_efficiency.value);
}

TEST_CASE("A disturbed point is an outlier and does not bend the fit", "[calibrate]") {
  Measured m = synthetic(known_gpu());
  GpuSpec base = orrery::test::h800();
  base.gemm_bf16.pJ_per_FLOP.value = 0;
  const auto gemm = std::find_if(m.points.begin(), m.points.end(), [](const MeasuredPoint& p) {
    return p.family == Family::kGemmBf16 && p.gemm.m == 4096;
  });
  for (double& us : gemm->us) us *= 2;
  const auto disturbed = static_cast<std::size_t>(gemm - m.points.begin());
  const Calibration c = calibrate_gpu(m, base);
  int found = 0;
  for (const PointError& p : fit_of(c, "gemm_bf16").points) {
    if (p.outlier) CHECK(p.point == disturbed);
    found += p.outlier ? 1 : 0;
  }
  CHECK(found == 1);
  CHECK(near(c.gpu.gemm_bf16.mainloop_efficiency.value, 0.81, 0.03));
}

TEST_CASE("Repeats that spread and repeats that jump are told", "[calibrate]") {
  Measured m = synthetic(known_gpu());
  m.points[2].us[0] *= 1.5;
  m.points[3].us = {10, 12, 8, 11, 9};
  const Calibration c = calibrate_gpu(m, orrery::test::h800());
  CHECK(c.wild_repeats == 1);
  CHECK(c.unsteady == std::vector<std::size_t>{3});
}

TEST_CASE("A reference kernel that slows down is a drift", "[calibrate]") {
  Measured m = synthetic(known_gpu());
  CHECK_FALSE(calibrate_gpu(m, orrery::test::h800()).drift.known);
  m.reference = {{0, 1000, 1980, 40, 690}, {30, 1005, 1980, 50, 690}, {60, 1010, 1980, 60, 690}};
  Drift d = calibrate_gpu(m, orrery::test::h800()).drift;
  CHECK(d.known);
  CHECK(near(d.slowdown, 0.01, 1e-6));
  CHECK_FALSE(d.flagged);
  m.reference.back().us = 1040;
  CHECK(calibrate_gpu(m, orrery::test::h800()).drift.flagged);
  m.reference.back() = {60, 1000, 1755, 80, 690};  // as fast, at a lower clock
  CHECK(calibrate_gpu(m, orrery::test::h800()).drift.flagged);
}

TEST_CASE("The same fifth is held back in whatever order the points are", "[calibrate]") {
  Measured m = synthetic(known_gpu());
  std::vector<std::size_t> all(m.points.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  const std::vector<bool> held = held_back(m, all);
  CHECK(std::count(held.begin(), held.end(), true) == static_cast<long>(all.size() / 5));
  std::reverse(all.begin(), all.end());
  const std::vector<bool> turned = held_back(m, all);
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(turned[i] == held[all[i]]);
  CHECK(held_back(m, {0, 1, 2, 3}) == std::vector<bool>(4, false));
}

TEST_CASE("Points beside another kernel are predicted with what is left", "[calibrate]") {
  const GpuSpec gpu = known_gpu();
  MeasuredPoint p = gemm_point(gpu, 8192, 8192, 8192);
  const double alone = point_seconds(gpu, p);
  p.beside_sms = 32;
  const double fewer = point_seconds(gpu, p);
  CHECK(fewer / alone > 1.25);
  CHECK(fewer / alone < 1.4);
  MeasuredPoint copy;
  copy.family = Family::kMemoryBound;
  copy.bytes = Bytes(1000000000);
  const double whole = point_seconds(gpu, copy);
  copy.beside_GBps = 3352 * 0.831 / 2;
  CHECK(near(point_seconds(gpu, copy), 2 * whole, 0.01));
  // Such points are compared, not fitted.
  Measured m = synthetic(gpu);
  m.points.push_back(timed(p, gpu));
  const Calibration c = calibrate_gpu(m, gpu);
  REQUIRE(c.checks.size() == 2);  // and narrow heads
  CHECK(c.checks[0].name == "attention, narrow heads");
  CHECK(c.checks[1].points.size() == 1);
  CHECK(c.checks[1].constants.empty());
}

TEST_CASE("Medians and their deviation resist wild values", "[calibrate]") {
  CHECK(median({3, 1, 2}) == 2);
  CHECK(median({4, 1, 2, 3}) == 2.5);
  CHECK(near(mad_sigma({1, 2, 3, 4, 100}), 1.4826, 1e-9));
  CHECK(outliers({1, 1.01, 0.99, 1, 5}, 5, 0.1) == std::vector<std::size_t>{4});
  CHECK(outliers({1, 1, 1, 1.05}, 5, 0.1).empty());  // below the floor
}

TEST_CASE("Launches in a stream and copies within L2 give their constants", "[calibrate]") {
  const GpuSpec truth = known_gpu();  // launch_gap_us 0.9
  Measured m = synthetic(truth, false);
  m.highest_sm_clock_MHz = 2000;
  m.points.push_back(launch_point("graph", 1));
  m.points.back().sm_clock_MHz = 1500;  // 0.75 us at the full clock
  m.points.push_back(launch_point("stream", 1.75));
  for (const auto& [bytes, us] : {std::pair{8'000'000, 2.0}, {32'000'000, 5.0}}) {
    MeasuredPoint p;
    p.family = Family::kL2Copy, p.kernel = "copy", p.bytes = Bytes(bytes), p.us = {us, us, us};
    m.points.push_back(p);
  }
  const Calibration c = calibrate_gpu(m, orrery::test::h800());
  CHECK(c.gpu.launch_gap_us.value == Approx(0.9));
  CHECK(c.gpu.stream_launch_gap_us.value == Approx(0.9 + 1.75 - 0.75));
  CHECK(c.gpu.l2_bandwidth_GBps.value == Approx(8000));  // 24 MB in 3 us
}
