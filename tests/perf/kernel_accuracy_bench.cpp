// Prints the cost models beside the published kernel times, set by set, fitted and held-out points
// apart: `kernel_accuracy_bench [--points]`.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "tests/kernel_points.h"

namespace orrery {
namespace {

struct Errors {
  std::vector<double> values;  // absolute
  double sum = 0;
  void add(double e) { values.push_back(std::abs(e)), sum += e; }
  std::string text() {
    if (values.empty()) return fmt::format("{:>5}{:>24}", 0, "");
    std::sort(values.begin(), values.end());
    const auto n = static_cast<double>(values.size());
    return fmt::format("{:>5}{:>8.1f}{:>8.1f}{:>+8.1f}", values.size(),
                       100 * values[values.size() / 2], 100 * values.back(), 100 * sum / n);
  }
};

int print_all(bool each) {
  const std::vector<test::KernelPoint> points = test::kernel_points(ORRERY_SOURCE_DIR);
  fmt::print("{:48}{:24}{:>29}{:>29}\n", "", "", "fitted", "held out");
  const std::string head = fmt::format("{:>5}{:>8}{:>8}{:>8}", "n", "med %", "max %", "bias %");
  fmt::print("{:48}{:24}{}{}\n", "set", "gpu", head, head);
  Errors all[2];
  for (std::size_t i = 0; i < points.size();) {
    const test::KernelPoint& first = points[i];
    Errors set[2];
    for (; i < points.size() && points[i].set == first.set; ++i) {
      const int held = points[i].held_out ? 1 : 0;
      set[held].add(points[i].error());
      all[held].add(points[i].error());
      if (each)
        fmt::print("    {:9.1f} us published, {:9.1f} predicted, {:+6.1f} %{}\n",
                   points[i].published_s * 1e6, points[i].predicted_s * 1e6,
                   100 * points[i].error(), held != 0 ? ", held out" : "");
    }
    fmt::print("{:48}{:24}{}{}\n", first.set, first.gpu, set[0].text(), set[1].text());
  }
  fmt::print("{:48}{:24}{}{}\n", "all", "", all[0].text(), all[1].text());
  return 0;
}

}  // namespace
}  // namespace orrery

int main(int argc, char** argv) {
  return orrery::print_all(argc > 1 && std::strcmp(argv[1], "--points") == 0);
}
