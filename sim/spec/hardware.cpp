#include "sim/spec/cluster.h"

namespace orrery {

const std::string_view kAccessPatternNames[kAccessPatterns] = {
    "stream",    "row_reduce", "cast",   "cast_transpose",
    "transpose", "strided",    "gather", "gated_map"};

namespace {

using json::Reader;

GemmKernelSpec read_gemm(Reader r) {
  GemmKernelSpec g;
  g.peak_TFLOPS = read_sourced(r, "peak_TFLOPS", {10, 50000});
  g.mainloop_efficiency = read_sourced(r, "mainloop_efficiency", json::kFraction);
  g.tile_overhead_us = read_sourced(r, "tile_overhead_us", {0, 100});
  g.hbm_efficiency = read_sourced(r, "hbm_efficiency", json::kFraction);
  r.finish();
  return g;
}

AttentionKernelSpec read_attention(Reader r) {
  AttentionKernelSpec a;
  a.peak_TFLOPS = read_sourced(r, "peak_TFLOPS", {10, 50000});
  a.mainloop_efficiency = read_sourced(r, "mainloop_efficiency", json::kFraction);
  a.tile_overhead_us = read_sourced(r, "tile_overhead_us", {0, 100});
  a.softmax_us = read_sourced(r, "softmax_us", {0, 100});
  r.finish();
  return a;
}

}  // namespace

GpuSpec read_gpu(Reader r) {
  GpuSpec g;
  g.name = r.string("name");
  g.sm_count = read_sourced(r, "sm_count", {1, 1024});
  g.hbm_capacity_GiB = read_sourced(r, "hbm_capacity_GiB", {1, 2048});
  g.hbm_bandwidth_GBps = read_sourced(r, "hbm_bandwidth_GBps", {100, 30000});
  g.bf16_dense_TFLOPS = read_sourced(r, "bf16_dense_TFLOPS", {10, 50000});
  g.fp8_dense_TFLOPS = read_sourced(r, "fp8_dense_TFLOPS", {10, 100000});
  g.gemm_bf16 = read_gemm(r.object("gemm_bf16"));
  g.gemm_fp8 = read_gemm(r.object("gemm_fp8"));
  g.gemm_fp8_wgrad = read_gemm(r.object("gemm_fp8_wgrad"));
  g.attention_forward = read_attention(r.object("attention_forward"));
  g.attention_backward = read_attention(r.object("attention_backward"));
  Reader e = r.object("hbm_efficiency");
  for (int i = 0; i < kAccessPatterns; ++i)
    g.hbm_efficiency[i] = read_sourced(e, kAccessPatternNames[i], json::kFraction);
  e.finish();
  g.kernel_fixed_us = read_sourced(r, "kernel_fixed_us", {0, 100});
  g.launch_gap_us = read_sourced(r, "launch_gap_us", {0, 100});
  r.finish();
  return g;
}

}  // namespace orrery
