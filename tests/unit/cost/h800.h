// The constants of hardware_profiles/gpu/h800_sxm5.json, without their sources.
#pragma once

#include <cstddef>

#include "sim/spec/hardware.h"

namespace orrery::test {

inline Sourced number(double value) {
  Sourced s;
  s.value = value;
  return s;
}

inline GemmKernelSpec gemm_spec(double peak, double efficiency, double overhead_us,
                                double pJ_per_FLOP = 0) {
  return {number(peak), number(efficiency), number(overhead_us), number(0.82), number(pJ_per_FLOP)};
}

inline AttentionKernelSpec attention_spec(double efficiency, double overhead_us) {
  return {number(989), number(efficiency), number(0.95), number(overhead_us), number(0.63)};
}

inline GpuSpec h800() {
  GpuSpec g;
  g.name = "H800 SXM5";
  g.sm_count = number(132);
  g.hbm_capacity_GiB = number(79.1);
  g.hbm_bandwidth_GBps = number(3352);
  g.bf16_dense_TFLOPS = number(989);
  g.fp8_dense_TFLOPS = number(1979);
  g.gemm_bf16 = gemm_spec(989, 0.90, 1.75, 1.05);
  g.gemm_fp8 = gemm_spec(1979, 0.744, 2.12);
  g.gemm_fp8_wgrad = gemm_spec(1979, 0.441, 2.12);
  g.attention_forward = attention_spec(0.90, 3.5);
  g.attention_backward = attention_spec(0.62, 4.5);
  g.power = {number(700), number(150), {}};
  const double efficiency[kAccessPatterns] = {0.831, 0.5, 0.593, 0.632, 0.811, 0.321, 0.816, 0.769};
  for (std::size_t i = 0; i < kAccessPatterns; ++i) g.hbm_efficiency[i] = number(efficiency[i]);
  g.kernel_fixed_us = number(2);
  g.launch_gap_us = number(2);
  return g;
}

// A GPU with round numbers for arithmetic by hand: 1 TFLOP/s per SM, 1000 GB/s of HBM, no
// overheads.
inline GpuSpec round_gpu() {
  GpuSpec g = h800();
  g.sm_count = number(100);
  g.hbm_bandwidth_GBps = number(1000);
  for (GemmKernelSpec* k : {&g.gemm_bf16, &g.gemm_fp8, &g.gemm_fp8_wgrad})
    *k = {number(100), number(1), number(0), number(1), number(0)};
  for (AttentionKernelSpec* k : {&g.attention_forward, &g.attention_backward})
    *k = {number(100), number(1), number(0), number(0), number(0)};
  for (Sourced& e : g.hbm_efficiency) e = number(1);
  g.kernel_fixed_us = number(0);
  g.power = {};
  return g;
}

}  // namespace orrery::test
