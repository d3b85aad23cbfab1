#include "sim/base/units.h"

#include <type_traits>

#include "tests/catch.h"

namespace orrery {
namespace {

static_assert(!std::is_convertible_v<int64_t, Picos>);
static_assert(!std::is_convertible_v<Picos, Bytes>);
static_assert(!std::is_assignable_v<Picos&, Bytes>);

TEST_CASE("quantities add, scale and divide", "[base]") {
  Picos t = from_micros(2.5);
  CHECK(t.count() == 2'500'000);
  CHECK((t + Picos(1)).count() == 2'500'001);
  CHECK((t - t) == Picos(0));
  CHECK((3 * t) == (t * 3));
  CHECK(t / Picos(500'000) == 5);
  CHECK(-t < Picos(0));
}

TEST_CASE("conversions name their units", "[base]") {
  CHECK(from_seconds(1.5).count() == 1'500'000'000'000);
  CHECK(seconds(Picos(2'000'000'000'000)) == 2.0);
  CHECK(micros(Picos(1'500'000)) == 1.5);
  CHECK(from_gib(2).count() == int64_t{1} << 31);
  CHECK(gib(Bytes(int64_t{3} << 29)) == 1.5);
  CHECK(transfer_seconds(Bytes(4'000'000'000), from_GBps(2)) == 2.0);
  CHECK(compute_seconds(Flops(3e12), from_TFLOPS(1.5)) == 2.0);
}

}  // namespace
}  // namespace orrery
