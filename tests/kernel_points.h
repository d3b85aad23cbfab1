// Published kernel times (tests/data/published_kernels.json) beside the cost models'.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/base/text.h"
#include "sim/cost/attention.h"
#include "sim/cost/gemm.h"
#include "sim/spec/cluster.h"
#include "sim/spec/profile_file.h"

namespace orrery::test {

struct KernelPoint {
  std::string set, gpu, kernel;
  bool held_out = false;   // not used for any fit
  double published_s = 0;  // seconds
  double predicted_s = 0;
  double error() const { return predicted_s / published_s - 1; }
};

inline GpuSpec load_gpu(const std::string& root, const std::string& name) {
  const std::string profiles = root + "/hardware_profiles";
  const json::Node n = load_profile(profiles + "/" + name + ".json", profiles);
  Diagnostics d;
  GpuSpec gpu = read_gpu(json::Reader(n, "", d));
  d.throw_if_any();
  return gpu;
}

// What the members of a set say of each of its points.
struct KernelSet {
  GpuSpec gpu;
  std::string kernel;
  GpuShare share;
  double overhead_s = 0;  // of the benchmark, in each of its times
  bool accumulates = false;
};

inline double predict_gemm(const KernelSet& set, json::Reader& p, double& flops) {
  static const std::map<std::string, GemmKernel> kKernels = {
      {"gemm_bf16", GemmKernel::kBf16},          {"gemm_fp8", GemmKernel::kFp8},
      {"gemm_fp8_wgrad", GemmKernel::kFp8Wgrad}, {"gemm_fp8_tensor", GemmKernel::kFp8Tensor},
      {"gemm_mxfp8", GemmKernel::kMxfp8},        {"gemm_nvfp4", GemmKernel::kNvfp4}};
  GemmShape s{.kernel = kKernels.at(set.kernel),
              .m = p.integer("m"),
              .n = p.integer("n"),
              .k = p.integer("k"),
              .groups = p.integer_or("groups", 1)};
  if (s.kernel == GemmKernel::kFp8Wgrad || set.accumulates) s.output = GemmOutput::kFp32Accumulate;
  flops = gemm_flops(s).count();
  return gemm_seconds(set.gpu, s, set.share) + set.overhead_s;
}

inline double predict_attention(const KernelSet& set, json::Reader& p, double& flops) {
  const std::string name = p.string("implementation");
  const std::string pass = p.string("pass");
  const AttentionShape s{.batch = p.integer_or("batch", 1),
                         .heads = p.integer("heads"),
                         .length = p.integer("length"),
                         .d_qk = p.integer("d_qk"),
                         .d_v = p.integer("d_v"),
                         .causal = p.boolean("causal")};
  double seconds = 0;
  flops = 0;
  if (pass != "backward") {
    seconds +=
        attention_forward_seconds(set.gpu, *attention_forward_kernel(set.gpu, name), s, set.share);
    flops += attention_forward_flops(s).count();
  }
  if (pass != "forward") {
    seconds += attention_preprocess_seconds(set.gpu, s, set.share) +
               attention_backward_seconds(set.gpu, *attention_backward_kernel(set.gpu, name), s,
                                          set.share) +
               attention_postprocess_seconds(set.gpu, s, set.share);
    flops += attention_backward_flops(s).count();
  }
  return seconds;
}

inline std::vector<KernelPoint> kernel_points(const std::string& root) {
  const json::Node file = json::parse_json_file(root + "/tests/data/published_kernels.json");
  Diagnostics d;
  json::Reader r(file, "", d);
  std::vector<KernelPoint> points;
  r.ignore("note");
  r.objects("sets", [&](json::Reader& set) {
    KernelPoint point;
    point.set = set.string("name");
    point.gpu = set.string("gpu");
    point.kernel = set.string("kernel");
    KernelSet of{load_gpu(root, point.gpu), point.kernel, {}};
    of.share = whole_gpu(of.gpu);
    of.share.sms = set.integer_or("sms", of.share.sms);
    of.overhead_s = set.number_or("overhead_us", 0) * 1e-6;
    of.accumulates = set.boolean_or("fp32_accumulate", false);
    if (set.boolean_or("burst", false)) of.gpu.power = {};
    set.string("reference");
    set.string("date");
    set.objects("points", [&](json::Reader& p) {
      point.held_out = p.boolean_or("held_out", false);
      double flops = 0;
      point.predicted_s = point.kernel == "attention" ? predict_attention(of, p, flops)
                                                      : predict_gemm(of, p, flops);
      point.published_s = p.has("us") ? p.number("us") * 1e-6 : flops / (p.number("TFLOPS") * 1e12);
      p.finish();
      points.push_back(point);
    });
    set.finish();
  });
  r.finish();
  d.throw_if_any();
  return points;
}

}  // namespace orrery::test
