// Points that a GPU with known constants would give.
#pragma once

#include "sim/calibrate/point_model.h"
#include "tests/unit/cost/h800.h"

namespace orrery::testing {

inline GpuSpec known_gpu() {
  GpuSpec g = orrery::test::h800();
  g.gemm_bf16.pJ_per_FLOP.value = 0;
  g.gemm_bf16.mainloop_efficiency.value = 0.81;
  g.gemm_bf16.tile_overhead_us.value = 2.6;
  g.gemm_bf16.hbm_efficiency.value = 0.7;
  g.attention_forward.pJ_per_FLOP.value = 0;
  g.attention_forward.mainloop_efficiency.value = 0.6;
  g.attention_forward.softmax_us.value = 0.7;
  g.attention_forward.tile_overhead_us.value = 5;
  g.hbm_efficiency[static_cast<std::size_t>(AccessPattern::kCast)].value = 0.5;
  g.kernel_fixed_us.value = 1.5;
  g.launch_gap_us.value = 0.9;
  return g;
}

// Sets the point's repeats: its time on `gpu`, each repeat `noise` more or less in turn.
inline MeasuredPoint timed(MeasuredPoint p, const GpuSpec& gpu, double noise = 0.01) {
  const double us = 1e6 * point_seconds(gpu, p);
  for (const double off : {-1.0, 0.0, 1.0, 0.5, -0.5}) p.us.push_back(us * (1 + noise * off));
  return p;
}

inline MeasuredPoint gemm_point(const GpuSpec& gpu, int64_t m, int64_t n, int64_t k) {
  MeasuredPoint p;
  p.family = Family::kGemmBf16;
  p.kernel = "gemm";
  p.gemm.m = m, p.gemm.n = n, p.gemm.k = k;
  return timed(p, gpu);
}

inline MeasuredPoint launch_point(const char* kernel, double us) {
  MeasuredPoint p;
  p.family = Family::kLaunch;
  p.kernel = kernel;
  p.us = {us, us, us};
  return p;
}

// `all`: small products too, which HBM limits.
inline Measured synthetic(const GpuSpec& gpu, bool all = true) {
  Measured m;
  m.gpu = "NVIDIA H800";
  m.date = "2026-11-28";
  m.multiprocessors = 132;
  m.memory_GiB = 79.1;
  m.points.push_back(launch_point("idle", gpu.launch_gap_us.value));
  for (const int64_t rows : {64, 256, 1024, 4096, 8192})
    for (const int64_t n : {1024, 2112, 4096, 7168})
      for (const int64_t k : {512, 2048, 7168})
        if (all || rows >= 4096) m.points.push_back(gemm_point(gpu, rows, n, k));
  for (const int64_t length : {1024, 2048, 4096, 8192})
    for (const int64_t heads : {16, 64, 128})
      for (const int64_t width : {64, 128, 192}) {
        MeasuredPoint p;
        p.family = Family::kAttentionForward;
        p.kernel = "attention";
        p.attention = {.batch = 1, .heads = heads, .length = length, .d_qk = width, .d_v = 128};
        m.points.push_back(timed(p, gpu));
      }
  for (const AccessPattern pattern : {AccessPattern::kStream, AccessPattern::kCast})
    for (const int64_t megabytes : {1, 4, 16, 64, 256, 1024}) {
      MeasuredPoint p;
      p.family = Family::kMemoryBound;
      p.kernel = "map";
      p.pattern = pattern;
      p.bytes = Bytes(megabytes * 1000000);
      m.points.push_back(timed(p, gpu));
    }
  return m;
}

}  // namespace orrery::testing
