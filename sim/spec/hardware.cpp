#include "sim/spec/cluster.h"

namespace orrery {

const std::string_view kAccessPatternNames[kAccessPatterns] = {
    "stream",    "row_reduce", "cast",   "cast_transpose",
    "transpose", "strided",    "gather", "gated_map"};

const std::string_view kRateFamilyNames[kRateFamilies] = {"memory_bound stream",
                                                          "memory_bound row_reduce",
                                                          "memory_bound cast",
                                                          "memory_bound cast_transpose",
                                                          "memory_bound transpose",
                                                          "memory_bound strided",
                                                          "memory_bound gather",
                                                          "memory_bound gated_map",
                                                          "gemm_bf16",
                                                          "gemm_fp8",
                                                          "gemm_fp8_wgrad",
                                                          "gemm_fp8_tensor",
                                                          "gemm_mxfp8",
                                                          "gemm_nvfp4",
                                                          "gemm_bf16_grouped",
                                                          "attention_forward",
                                                          "attention_backward"};

const std::string_view kGpuArchitectureNames[kGpuArchitectures] = {"volta", "ampere", "hopper",
                                                                   "blackwell"};

namespace {

using json::Reader;

// Today's and tomorrow's GPUs; the purpose is to catch a wrong unit.
constexpr json::Range kTflops{10, 100000};

Sourced read_or(Reader& r, std::string_view key, json::Range range, const Sourced& fallback) {
  return r.has(key) ? read_sourced(r, key, range) : fallback;
}

// At the highest clock, of a peak that datasheets count at a lower one.
constexpr json::Range kMainloop{0, 1.2};

GemmKernelSpec read_gemm(Reader r, const Sourced& peak) {
  GemmKernelSpec g;
  g.peak_TFLOPS = read_or(r, "peak_TFLOPS", kTflops, peak);
  if (!g.exists()) r.fail("", "this GPU states no dense peak of the kernel's input type");
  g.mainloop_efficiency = read_sourced(r, "mainloop_efficiency", kMainloop);
  g.tile_overhead_us = read_sourced(r, "tile_overhead_us", {0, 100});
  g.hbm_efficiency = read_sourced(r, "hbm_efficiency", json::kFraction);
  g.accumulate_exposed = read_or(r, "accumulate_exposed", {0, 1}, {});
  g.pJ_per_FLOP = read_or(r, "pJ_per_FLOP", {0, 20}, {});
  r.finish();
  return g;
}

GemmKernelSpec read_gemm_or_none(Reader& r, std::string_view key, const Sourced& peak) {
  return r.has(key) ? read_gemm(r.object(key), peak) : GemmKernelSpec{};
}

AttentionKernelSpec read_attention(Reader r, const Sourced& peak) {
  AttentionKernelSpec a;
  a.peak_TFLOPS = read_or(r, "peak_TFLOPS", kTflops, peak);
  a.mainloop_efficiency = read_sourced(r, "mainloop_efficiency", kMainloop);
  a.tile_overhead_us = read_sourced(r, "tile_overhead_us", {0, 100});
  a.softmax_us = read_sourced(r, "softmax_us", {0, 100});
  a.pJ_per_FLOP = read_or(r, "pJ_per_FLOP", {0, 20}, {});
  a.tail = read_or(r, "tail", {0, 1}, a.tail);
  a.skips_window = read_or(r, "skips_window", {0, 1}, a.skips_window);
  r.finish();
  return a;
}

bool ends_with(const std::string& s, std::string_view end) {
  return s.size() >= end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0;
}

// Those named "..._fp8" multiply FP8 operands.
std::vector<AttentionKernels> read_attention_kernels(Reader r, const Sourced& bf16,
                                                     const Sourced& fp8) {
  std::vector<AttentionKernels> kernels;
  for (const std::string& name : r.keys()) {
    Reader k = r.object(name);
    const Sourced& peak = ends_with(name, "_fp8") ? fp8 : bf16;
    kernels.push_back({name, read_attention(k.object("forward"), peak),
                       read_attention(k.object("backward"), peak)});
    k.finish();
  }
  r.finish();
  return kernels;
}

PowerSpec read_power(Reader r) {
  PowerSpec p;
  p.limit_W = read_sourced(r, "limit_W", {50, 5000});
  p.static_W = read_sourced(r, "static_W", {1, 1000});
  p.pJ_per_byte = read_or(r, "pJ_per_byte", {0, 1000}, {});
  if (p.static_W.value >= p.limit_W.value)
    r.fail("static_W", "leaves nothing of limit_W to the tensor cores");
  r.finish();
  return p;
}

void read_calibration(Reader r, GpuSpec& g) {
  g.calibration = r.string("reference");
  Reader h = r.object("held_out");
  for (int f = 0; f < kRateFamilies; ++f) {
    if (!h.has(kRateFamilyNames[f])) continue;
    Reader e = h.object(kRateFamilyNames[f]);
    g.held_out[f].points = static_cast<double>(e.integer("points", {1, 1e6}));
    g.held_out[f].rms_ln = e.number("rms_ln", {0, 3});
    e.finish();
  }
  h.finish();
  r.finish();
}

}  // namespace

GpuSpec read_gpu(Reader r) {
  GpuSpec g;
  g.name = r.string("name");
  g.architecture = static_cast<GpuArchitecture>(r.choice_or(
      "architecture", static_cast<std::size_t>(GpuArchitecture::kHopper), kGpuArchitectureNames));
  g.sm_count = read_sourced(r, "sm_count", {1, 1024});
  g.hbm_capacity_GiB = read_sourced(r, "hbm_capacity_GiB", {1, 2048});
  g.hbm_bandwidth_GBps = read_sourced(r, "hbm_bandwidth_GBps", {100, 30000});
  const Sourced bf16 = g.bf16_dense_TFLOPS = read_sourced(r, "bf16_dense_TFLOPS", kTflops);
  const Sourced fp8 = g.fp8_dense_TFLOPS = read_or(r, "fp8_dense_TFLOPS", kTflops, {});
  const Sourced fp4 = g.fp4_dense_TFLOPS = read_or(r, "fp4_dense_TFLOPS", kTflops, {});
  g.gemm_bf16 = read_gemm(r.object("gemm_bf16"), bf16);
  g.gemm_fp8 = read_gemm_or_none(r, "gemm_fp8", fp8);
  g.gemm_fp8_wgrad = read_gemm_or_none(r, "gemm_fp8_wgrad", fp8);
  g.gemm_fp8_tensor = read_gemm_or_none(r, "gemm_fp8_tensor", fp8);
  g.gemm_mxfp8 = read_gemm_or_none(r, "gemm_mxfp8", fp8);
  g.gemm_nvfp4 = read_gemm_or_none(r, "gemm_nvfp4", fp4);
  g.gemm_bf16_grouped = g.gemm_bf16;
  if (r.has("gemm_bf16_grouped"))
    g.gemm_bf16_grouped = read_gemm(r.object("gemm_bf16_grouped"), bf16);
  // Those that are not the library's.
  g.gemm_fp8.fixed_grid = g.gemm_fp8_wgrad.fixed_grid = true;
  g.gemm_bf16_grouped.fixed_grid = r.has("gemm_bf16_grouped");
  g.attention_forward = read_attention(r.object("attention_forward"), bf16);
  g.attention_backward = read_attention(r.object("attention_backward"), bf16);
  if (r.has("attention_kernels"))
    g.attention_kernels = read_attention_kernels(r.object("attention_kernels"), bf16, fp8);
  if (r.has("power")) g.power = read_power(r.object("power"));
  Reader e = r.object("hbm_efficiency");
  for (int i = 0; i < kAccessPatterns; ++i)
    g.hbm_efficiency[i] = read_sourced(e, kAccessPatternNames[i], json::kFraction);
  e.finish();
  g.kernel_fixed_us = read_sourced(r, "kernel_fixed_us", {0, 100});
  g.launch_gap_us = read_sourced(r, "launch_gap_us", {0, 100});
  g.stream_launch_gap_us = read_or(r, "stream_launch_gap_us", {0, 100}, g.launch_gap_us);
  g.l2_capacity_MiB = read_or(r, "l2_capacity_MiB", {0, 4096}, {});
  g.l2_bandwidth_GBps = read_or(r, "l2_bandwidth_GBps", {0, 1e6}, {});
  if (r.has("calibration")) read_calibration(r.object("calibration"), g);
  r.finish();
  return g;
}

namespace {

const AttentionKernels* find_attention(const GpuSpec& gpu, std::string_view name) {
  for (const AttentionKernels& k : gpu.attention_kernels)
    if (k.name == name) return &k;
  return nullptr;
}

}  // namespace

const AttentionKernelSpec* attention_forward_kernel(const GpuSpec& gpu, std::string_view name) {
  if (name.empty()) return &gpu.attention_forward;
  const AttentionKernels* k = find_attention(gpu, name);
  return k == nullptr ? nullptr : &k->forward;
}

const AttentionKernelSpec* attention_backward_kernel(const GpuSpec& gpu, std::string_view name) {
  if (name.empty()) return &gpu.attention_backward;
  const AttentionKernels* k = find_attention(gpu, name);
  return k == nullptr ? nullptr : &k->backward;
}

}  // namespace orrery
