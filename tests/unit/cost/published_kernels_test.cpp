#include <algorithm>
#include <cmath>

#include "tests/catch.h"
#include "tests/kernel_points.h"
#include "tests/source_dir.h"

using namespace orrery;

namespace {

template <class Pick>
double median_error(const std::vector<test::KernelPoint>& points, Pick pick) {
  std::vector<double> errors;
  for (const test::KernelPoint& p : points)
    if (pick(p)) errors.push_back(std::abs(p.error()));
  REQUIRE_FALSE(errors.empty());
  std::sort(errors.begin(), errors.end());
  return errors[errors.size() / 2];
}

}  // namespace

TEST_CASE("Published kernel times come out within 7 % in the median, those held out too",
          "[cost][accuracy]") {
  const std::vector<test::KernelPoint> points = test::kernel_points(kSourceDir);
  const auto held = std::count_if(points.begin(), points.end(),
                                  [](const test::KernelPoint& p) { return p.held_out; });
  CHECK(3 * held >= static_cast<std::ptrdiff_t>(points.size()));
  CHECK(median_error(points, [](const auto& p) { return !p.held_out; }) < 0.07);
  CHECK(median_error(points, [](const auto& p) { return p.held_out; }) < 0.07);
  for (const char* kernel : {"gemm_bf16", "gemm_fp8", "gemm_fp8_tensor", "attention"}) {
    CAPTURE(kernel);
    CHECK(median_error(points, [&](const auto& p) { return p.kernel == kernel; }) < 0.07);
  }
}
