// Hardware profiles: what a GPU, a node and a cluster can do. Bandwidths are per GPU and per
// direction, in GB/s (10^9 bytes per second); a value implausible for its class is an error.
#pragma once

#include <string>
#include <vector>

#include "sim/base/units.h"
#include "sim/spec/provenance.h"

namespace orrery {

// Constants of one tensor-core GEMM kernel family on one GPU; sim/cost/gemm.h gives the formula.
struct GemmKernelSpec {
  Sourced peak_TFLOPS;          // dense tensor-core peak of the input type, all SMs
  Sourced mainloop_efficiency;  // fraction of the SM's peak inside the k loop
  Sourced tile_overhead_us;     // per tile and SM: pipeline fill and the part of the epilogue that
                                // the next tile does not hide
  Sourced hbm_efficiency;       // fraction of the HBM bandwidth its streams reach
};

// Constants of one fused attention kernel; sim/cost/attention.h gives the formula.
struct AttentionKernelSpec {
  Sourced peak_TFLOPS;
  Sourced mainloop_efficiency;  // fraction of the SM's peak that the matrix products alone reach
  Sourced softmax_us;           // exponentials that the products do not hide, per 128x128 scores
  Sourced tile_overhead_us;     // per tile and SM with d_qk + d_v = 256: first loads, last stores
};

// Constants of memory-bound kernels, by access pattern: the fraction of the HBM bandwidth reached.
enum class AccessPattern : uint8_t {
  kStream,         // copies and element-wise maps over contiguous rows
  kRowReduce,      // a reduction per row, then a map (RMSNorm)
  kCast,           // 1x128 amax, scale and cast of rows
  kCastTranspose,  // 128x1 amax, cast and transpose through shared memory
  kTranspose,      // byte transpose through shared memory
  kStrided,        // short strided segments (RoPE on interleaved heads)
  kGather,         // rows gathered or scattered through an index (permute, unpermute)
  kGatedMap,       // SwiGLU with per-row weights, forward and backward
};
constexpr int kAccessPatterns = 8;
extern const std::string_view kAccessPatternNames[kAccessPatterns];

struct GpuSpec {
  std::string name;
  Sourced sm_count;
  Sourced hbm_capacity_GiB;
  Sourced hbm_bandwidth_GBps;
  Sourced bf16_dense_TFLOPS;  // tensor-core peak without sparsity: the denominator of MFU
  Sourced fp8_dense_TFLOPS;
  GemmKernelSpec gemm_bf16;
  GemmKernelSpec gemm_fp8;        // 1x128 by 128x128 scales, BF16 out: fprop and dgrad
  GemmKernelSpec gemm_fp8_wgrad;  // 1x128 by 1x128 scales, FP32 accumulated into the gradient
  AttentionKernelSpec attention_forward;
  AttentionKernelSpec attention_backward;
  Sourced hbm_efficiency[kAccessPatterns];
  Sourced kernel_fixed_us;  // start and drain of a kernel on the GPU, beyond its work
  Sourced launch_gap_us;    // between two dependent kernels of one stream
};

}  // namespace orrery
