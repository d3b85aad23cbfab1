#include "sim/import/kineto.h"

#include <cmath>

#include "sim/study/compare.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {
std::string profile() {
  return std::string(ORRERY_SOURCE_DIR) + "/experiments/deepseek_v3/profile/train.json";
}
}  // namespace

TEST_CASE("The published H800 pair is read with its segments and classes", "[import]") {
  const MeasuredTrace t = read_kineto(profile());
  CHECK(t.kernels.size() == 983);
  CHECK(t.span_us == Approx(129012));
  double combine = 0, wgrad = 0, cast = 0;
  for (const MeasuredKernel& k : t.kernels) {
    if (k.cls == KernelClass::kCommCombine) combine += k.duration_us;
    if (k.cls == KernelClass::kGemmWgrad) wgrad += k.duration_us;
    if (k.cls == KernelClass::kQuantCast) cast += k.duration_us;
    CHECK((k.layer >= 0 && k.layer < 4));
  }
  CHECK(combine == 49448);
  CHECK(wgrad == 32756);
  CHECK(cast == 14845);
}

TEST_CASE("A file that is no trace is refused", "[import]") {
  const std::string other = std::string(ORRERY_SOURCE_DIR) + "/experiments/deepseek_v3/config.json";
  CHECK(contains(error_of([&] { read_kineto(other); }), "traceEvents"));
}

TEST_CASE("The simulated pair stays within 5 % of the measured one", "[import]") {
  const Comparison c = compare_pair(deepseek(), 1, read_kineto(profile()));
  CHECK(std::abs(c.total.error()) < 0.05);
  CHECK(c.joined > 500);
}
