#include "runtime/cuda/kernel_bench.h"

#include <algorithm>
#include <cmath>

#include "kernels/bench/bench.h"
#include "runtime/cuda/factory.h"

namespace orrery {
namespace {

using kernels::bench::Bound;
using kernels::bench::Ceilings;
using kernels::bench::Line;
using nlohmann::ordered_json;

struct Family {
  const char* name;
  std::vector<Line> (*measure)();
};
constexpr Family kFamilies[] = {
    {"gemm", kernels::bench::bench_gemms},
    {"attention", kernels::bench::bench_attention},
    {"bandwidth", kernels::bench::bench_bandwidth},
};

const char* bound_name(Bound b) {
  if (b == Bound::kBf16) return "bf16_TFLOPS";
  return b == Bound::kFp8 ? "fp8_TFLOPS" : "copy_GBps";
}

// Four digits are more than repeat.
double rounded(double x) {
  double per_unit = 1000;
  while (per_unit > 1 && std::abs(x) * per_unit >= 1e4) per_unit /= 10;
  return std::round(x * per_unit) / per_unit;
}

ordered_json to_json(const Line& l, const Ceilings& c) {
  const double TFLOPS = l.flops / l.us * 1e-6, GBps = l.bytes / l.us * 1e-3;
  ordered_json j{{"kernel", l.kernel}, {"shape", l.shape}, {"us", rounded(l.us)}};
  if (l.flops > 0) j["TFLOPS"] = rounded(TFLOPS);
  j["GBps"] = rounded(GBps);
  j["bound"] = bound_name(l.bound);
  const double ceiling = l.bound == Bound::kBf16  ? c.bf16_TFLOPS
                         : l.bound == Bound::kFp8 ? c.fp8_TFLOPS
                                                  : c.copy_GBps;
  if (ceiling > 0)
    j["share_of_ceiling"] = rounded((l.bound == Bound::kBandwidth ? GBps : TFLOPS) / ceiling);
  if (!l.baseline.empty()) {
    j["baseline"] = l.baseline;
    j["baseline_us"] = l.baseline_us > 0 ? ordered_json(rounded(l.baseline_us)) : ordered_json();
    if (l.baseline_us > 0) j["of_baseline"] = rounded(l.baseline_us / l.us);
  }
  return j;
}

}  // namespace

const std::vector<std::string>& kernel_bench_families() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Family& f : kFamilies) all.emplace_back(f.name);
    return all;
  }();
  return names;
}

ordered_json bench_kernels(const std::vector<std::string>& families) {
  check_gpu();
  const kernels::bench::Machine m = kernels::bench::machine();
  const Ceilings c = kernels::bench::measure_ceilings();
  ordered_json j{{"schema_version", 1}};
  j["machine"] = {{"gpu", m.gpu},
                  {"multiprocessors", m.multiprocessors},
                  {"memory_GiB", rounded(m.memory_GiB)},
                  {"highest_sm_clock_MHz", m.sm_clock_MHz},
                  {"highest_memory_clock_MHz", m.memory_clock_MHz},
                  {"cuda_of_driver", m.driver},
                  {"cuda", m.cuda},
                  {"cublaslt", m.cublaslt}};
  j["ceilings"] = {{"copy_GBps", rounded(c.copy_GBps)},
                   {"bf16_TFLOPS", rounded(c.bf16_TFLOPS)},
                   {"fp8_TFLOPS", rounded(c.fp8_TFLOPS)}};
  j["kernels"] = ordered_json::array();
  for (const Family& f : kFamilies) {
    if (std::find(families.begin(), families.end(), f.name) == families.end()) continue;
    for (const Line& l : f.measure()) j["kernels"].push_back(to_json(l, c));
  }
  return j;
}

}  // namespace orrery
