#include "sim/calibrate/constants.h"

#include <fmt/format.h>

namespace orrery {
namespace {

// What a profile may say (sim/spec/hardware.cpp), less what no kernel does.
constexpr Bound kEfficiency{0.03, 1, false};
// Of a peak that the datasheet counts at less than the highest clock: GH100's at 1830 of 1980 MHz.
constexpr Bound kMainloop{0.03, 1.08, false};
constexpr Bound kExposed{0, 1, true};
constexpr Bound kTileOverhead{0, 30, true};
constexpr Bound kAttentionOverhead{0, 60, true};
constexpr Bound kTail{0, 0.5, true};
constexpr Bound kSoftmax{0, 15, true};
constexpr Bound kKernelFixed{0, 10, true};
constexpr int64_t kNarrowHead = 96;

template <class Kernel>
FreeConstant<GpuSpec> constant_of(const std::string& object, Kernel GpuSpec::*kernel,
                                  const char* name, Sourced Kernel::*member, Bound bound) {
  return {fmt::format("/{}/{}", object, name),
          [kernel, member](GpuSpec& g) -> double& { return ((g.*kernel).*member).value; }, bound};
}

FittedClass gemm_class(Family family, GemmKernel kernel, GemmKernelSpec GpuSpec::*spec) {
  FittedClass k;
  k.name = kRateFamilyNames[kFirstGemmFamily + static_cast<int>(kernel)];
  k.takes = [family, kernel](const MeasuredPoint& p) {
    return p.family == family && p.gemm.kernel == kernel;
  };
  k.known = [spec](const GpuSpec& g) { return (g.*spec).exists(); };
  const auto constant = [&](const char* name, Sourced GemmKernelSpec::*member, Bound bound) {
    k.constants.push_back(constant_of(k.name, spec, name, member, bound));
  };
  constant("mainloop_efficiency", &GemmKernelSpec::mainloop_efficiency, kMainloop);
  constant("tile_overhead_us", &GemmKernelSpec::tile_overhead_us, kTileOverhead);
  constant("hbm_efficiency", &GemmKernelSpec::hbm_efficiency, kEfficiency);
  constant("accumulate_exposed", &GemmKernelSpec::accumulate_exposed, kExposed);
  k.energy = constant_of(k.name, spec, "pJ_per_FLOP", &GemmKernelSpec::pJ_per_FLOP, {});
  return k;
}

FittedClass attention_class(Family family, AttentionKernelSpec GpuSpec::*spec) {
  FittedClass k;
  k.name = kFamilyNames[static_cast<std::size_t>(family)];
  k.takes = [family](const MeasuredPoint& p) {
    return p.family == family && p.attention.d_qk >= kNarrowHead;
  };
  k.known = [](const GpuSpec&) { return true; };
  const auto constant = [&](const char* name, Sourced AttentionKernelSpec::*member, Bound bound) {
    k.constants.push_back(constant_of(k.name, spec, name, member, bound));
  };
  constant("mainloop_efficiency", &AttentionKernelSpec::mainloop_efficiency, kMainloop);
  constant("softmax_us", &AttentionKernelSpec::softmax_us, kSoftmax);
  constant("tile_overhead_us", &AttentionKernelSpec::tile_overhead_us, kAttentionOverhead);
  constant("tail", &AttentionKernelSpec::tail, kTail);
  k.energy = constant_of(k.name, spec, "pJ_per_FLOP", &AttentionKernelSpec::pJ_per_FLOP, {});
  return k;
}

FittedClass pattern_class(std::size_t pattern) {
  FittedClass k;
  k.name = fmt::format("memory_bound {}", kAccessPatternNames[pattern]);
  k.takes = [pattern](const MeasuredPoint& p) {
    return p.family == Family::kMemoryBound && !p.about_kernel &&
           static_cast<std::size_t>(p.pattern) == pattern;
  };
  k.known = [](const GpuSpec&) { return true; };
  k.constants.push_back(
      {fmt::format("/hbm_efficiency/{}", kAccessPatternNames[pattern]),
       [pattern](GpuSpec& g) -> double& { return g.hbm_efficiency[pattern].value; }, kEfficiency});
  if (static_cast<AccessPattern>(pattern) == AccessPattern::kStream)
    k.constants.push_back({"/kernel_fixed_us",
                           [](GpuSpec& g) -> double& { return g.kernel_fixed_us.value; },
                           kKernelFixed});
  return k;
}

std::vector<FittedClass> make_classes() {
  std::vector<FittedClass> all;
  for (std::size_t p = 0; p < kAccessPatterns; ++p) all.push_back(pattern_class(p));
  all.push_back(gemm_class(Family::kGemmBf16, GemmKernel::kBf16, &GpuSpec::gemm_bf16));
  all.push_back(
      gemm_class(Family::kGemmBf16, GemmKernel::kBf16Grouped, &GpuSpec::gemm_bf16_grouped));
  all.push_back(gemm_class(Family::kGemmFp8, GemmKernel::kFp8, &GpuSpec::gemm_fp8));
  all.push_back(gemm_class(Family::kGemmFp8Wgrad, GemmKernel::kFp8Wgrad, &GpuSpec::gemm_fp8_wgrad));
  all.push_back(
      gemm_class(Family::kGemmFp8Tensor, GemmKernel::kFp8Tensor, &GpuSpec::gemm_fp8_tensor));
  all.push_back(attention_class(Family::kAttentionForward, &GpuSpec::attention_forward));
  all.push_back(attention_class(Family::kAttentionBackward, &GpuSpec::attention_backward));
  return all;
}

}  // namespace

const std::vector<FittedClass>& kernel_classes() {
  static const std::vector<FittedClass> classes = make_classes();
  return classes;
}

}  // namespace orrery
