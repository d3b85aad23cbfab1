#include "sim/study/sensitivity.h"

#include "sim/report/json.h"
#include "sim/report/sensitivity.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

using namespace orrery;

namespace {

Sensitivity of(std::string only, int threads) {
  SensitivityOptions o;
  o.validate.figure = result_value;
  o.only = std::move(only);
  o.validate.threads = threads;
  return sensitivity(std::string(kSourceDir) + "/experiments/validation/korthikanti", kSourceDir,
                     o);
}

}  // namespace

TEST_CASE("A longer tile overhead makes steps longer, a shorter one shorter",
          "[study][sensitivity]") {
  const Sensitivity s = of("gemm_bf16/tile_overhead_us", 2);
  REQUIRE(s.constants.size() == 1);
  const MovedConstant& m = s.constants[0];
  CHECK(m.source != "datasheet");
  CHECK(m.cases > 0);
  for (int up = 0; up < 2; ++up) {
    CAPTURE(up);
    const MovedConstant::Side& side = m.side[up];
    REQUIRE(side.problem.empty());
    REQUIRE(side.time.size() == s.base.time.size());
    const double by = side.time[0].bias - s.base.time[0].bias;
    CHECK((up != 0 ? by : -by) > 0);
    CHECK((up != 0 ? by : -by) < 0.1);
    CHECK(!side.changed.empty());
  }
}

TEST_CASE("A fraction that would pass 1 is reported and not moved", "[study][sensitivity]") {
  const Sensitivity s = of("gemm_bf16/mainloop_efficiency", 1);
  REQUIRE(s.constants.size() == 1);
  CHECK(s.constants[0].side[0].problem.empty());
  CHECK(!s.constants[0].side[1].problem.empty());
  CHECK(s.constants[0].side[1].time.empty());
}

TEST_CASE("The sensitivity report does not depend on the threads", "[study][sensitivity]") {
  const std::string one = sensitivity_json(of("kernel_fixed_us", 1));
  CHECK(one == sensitivity_json(of("kernel_fixed_us", 2)));
  CHECK(one.find("kernel_fixed_us") != std::string::npos);
}
