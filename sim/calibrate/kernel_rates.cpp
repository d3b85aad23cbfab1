#include "sim/calibrate/kernel_rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/calibrate/gpu_profile.h"
#include "sim/spec/stack.h"

namespace orrery {
namespace {

constexpr std::size_t kFewest = 4;  // points
constexpr Bound kRateEfficiency{0.03, 1, false};
constexpr Bound kFixed{0, 30, true};

struct Kernel {
  std::vector<std::string> kinds;
  std::vector<std::string> points;  // MeasuredPoint::kernel
  double rated = 1;                 // the bytes that the rate is of, over those of the points
};

// Rows of 56 scales are transposed in two tiles of 32.
constexpr double kWholeScaleTiles = 64.0 / 56;

const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> all = {
      {{"rms_norm"}, {"rms_norm", "rms_norm of a sum"}},
      {{"rms_norm_backward"}, {"rms_norm_backward"}},
      {{"rms_norm_reduce"}, {"rms_norm_reduce"}},
      {{"cast_fp8"}, {"cast_rows"}},
      {{"cast_back"}, {"cast_back"}},
      {{"cast_transpose_fp8"}, {"cast_transpose of BF16"}},
      {{std::string(kCastTransposeOfFp8)}, {"cast_transpose of FP8"}},
      {{"swiglu_cast_transpose"}, {"swiglu_cast_transpose"}},
      {{"transpose_fp8"}, {"transpose_block"}},
      {{"transpose_scales"}, {"transpose_scales"}, kWholeScaleTiles},
      {{"cast_e5m6"}, {"cast_e5m6"}},
      {{"cast_back_e5m6"}, {"cast_back_e5m6"}},
      {{"rope", "rope_backward"}, {"rope"}},
      {{"concat_heads"}, {"concat_heads"}},
      {{"cross_entropy"}, {"cross_entropy"}},
      {{"swiglu"}, {"swiglu"}},
      {{"swiglu_backward"}, {"swiglu_backward"}},
      {{"swiglu_weight_backward"}, {"swiglu_weight_backward"}},
      {{"swiglu_cast"}, {"swiglu_cast"}},
      {{"router_backward"}, {"router_backward"}},
      {{"permute"}, {"permute"}},
      {{"unpermute"}, {"unpermute"}},
      {{"embedding_backward"}, {"embedding_backward"}},
      {{"adamw"}, {"adamw"}},
  };
  return all;
}

Bytes rated(Bytes moved, double ratio) {
  return Bytes(std::llround(static_cast<double>(moved.count()) * ratio));
}

KernelRateFit fit_kernel(const Kernel& kernel, Measured m, const GpuSpec& gpu,
                         const std::vector<std::size_t>& points) {
  if (kernel.rated != 1)
    for (const std::size_t i : points) m.points[i].bytes = rated(m.points[i].bytes, kernel.rated);
  KernelRateFit rate;
  rate.kinds = kernel.kinds;
  // The formula is that of memory-bound kernels with constants of its own.
  const auto pattern = static_cast<std::size_t>(m.points[points[0]].pattern);
  FittedClass k;
  k.name = kernel.points[0];
  k.constants = {
      {"hbm_efficiency",
       [pattern](GpuSpec& g) -> double& { return g.hbm_efficiency[pattern].value; },
       kRateEfficiency},
      {"fixed_us", [](GpuSpec& g) -> double& { return g.kernel_fixed_us.value; }, kFixed}};
  GpuSpec own = gpu;
  rate.fit = fit_class(m, k, points, own, gpu);
  rate.hbm_efficiency = own.hbm_efficiency[pattern].value;
  rate.fixed_us = own.kernel_fixed_us.value;
  return rate;
}

}  // namespace

std::vector<KernelRateFit> fit_kernel_rates(const Measured& m, const GpuSpec& gpu) {
  std::vector<KernelRateFit> rates;
  for (const Kernel& k : kernels()) {
    std::vector<std::size_t> points;
    for (std::size_t i = 0; i < m.points.size(); ++i) {
      const MeasuredPoint& p = m.points[i];
      const bool its = std::find(k.points.begin(), k.points.end(), p.kernel) != k.points.end();
      if (p.family == Family::kMemoryBound && !p.shared() && its) points.push_back(i);
    }
    if (points.size() >= kFewest) rates.push_back(fit_kernel(k, m, gpu, points));
  }
  return rates;
}

nlohmann::ordered_json stack_profile(const std::vector<KernelRateFit>& rates, const Measured& m,
                                     const std::string& base, const std::string& run) {
  if (rates.empty()) return nullptr;
  nlohmann::ordered_json j{{"extends", base},
                           {"name", fmt::format("orrery, measured on {}", m.gpu)}};
  for (const KernelRateFit& r : rates) {
    const std::string reference = class_reference(r.fit, m, run);
    for (const std::string& kind : r.kinds)
      j["kernel_rates"][kind] = {
          {"hbm_efficiency", measured_number(r.hbm_efficiency, reference, m.date)},
          {"fixed_us", measured_number(r.fixed_us, reference, m.date)}};
  }
  return j;
}

}  // namespace orrery
