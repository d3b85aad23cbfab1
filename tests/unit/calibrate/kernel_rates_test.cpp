#include "sim/calibrate/kernel_rates.h"

#include <cmath>

#include "tests/catch.h"
#include "tests/unit/calibrate/synthetic.h"

using namespace orrery;
using namespace orrery::testing;

namespace {

// A kernel that reaches 0.6 of `gpu`'s HBM, 3 us after its start.
MeasuredPoint kernel_point(const GpuSpec& gpu, const std::string& kernel, int64_t bytes) {
  MeasuredPoint p;
  p.family = Family::kMemoryBound, p.kernel = kernel, p.pattern = AccessPattern::kStrided;
  p.bytes = Bytes(bytes);
  const double us = 3 + gpu.launch_gap_us.value +
                    static_cast<double>(bytes) / (gpu.hbm_bandwidth_GBps.value * 1e3 * 0.6);
  for (const double part : {0.99, 1.0, 1.01}) p.us.push_back(us * part);
  return p;
}

Measured rope_and_three_casts(const GpuSpec& gpu) {
  Measured m;
  m.gpu = "NVIDIA H800", m.date = "2026-11-29";
  for (const int64_t megabytes : {4, 8, 16, 64, 256, 1024})
    m.points.push_back(kernel_point(gpu, "rope", megabytes << 20));
  for (const int64_t megabytes : {4, 64, 256})
    m.points.push_back(kernel_point(gpu, "cast_rows", megabytes << 20));
  return m;
}

}  // namespace

TEST_CASE("kernel rates: a kernel's own constants come from its points", "[calibrate]") {
  const GpuSpec gpu = known_gpu();  // 1.5 us, and another efficiency
  const std::vector<KernelRateFit> rates = fit_kernel_rates(rope_and_three_casts(gpu), gpu);
  REQUIRE(rates.size() == 1);  // three points are too few
  CHECK(rates[0].kinds == std::vector<std::string>{"rope", "rope_backward"});
  CHECK(rates[0].hbm_efficiency == Approx(0.6).epsilon(0.01));
  CHECK(rates[0].fixed_us == Approx(3).epsilon(0.03));
  int held = 0;
  for (const PointError& p : rates[0].fit.points) held += p.held_out ? 1 : 0;
  CHECK(held == 1);  // a fifth of six
}

TEST_CASE("kernel rates: the stack's profile names what it was measured on", "[calibrate]") {
  const GpuSpec gpu = known_gpu();
  const Measured m = rope_and_three_casts(gpu);
  const auto j = stack_profile(fit_kernel_rates(m, gpu), m, "stack/orrery", "measured/x.json");
  CHECK(j["extends"] == "stack/orrery");
  CHECK(j["kernel_rates"]["rope_backward"]["fixed_us"]["source"] == "measured");
  CHECK(j["kernel_rates"]["rope"]["hbm_efficiency"]["reference"].get<std::string>().find(
            "NVIDIA H800, measured/x.json: 5 points fitted") != std::string::npos);
  CHECK(stack_profile({}, m, "stack/orrery", "").is_null());
}
