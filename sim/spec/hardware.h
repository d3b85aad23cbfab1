// Hardware profiles: what a GPU, a node and a cluster can do. Bandwidths are per GPU and per
// direction, in GB/s (10^9 bytes per second); a value implausible for its class is an error.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/base/units.h"
#include "sim/spec/provenance.h"

namespace orrery {

// Constants of one tensor-core GEMM kernel family on one GPU; sim/cost/gemm.h gives the formula.
struct GemmKernelSpec {
  Sourced peak_TFLOPS;          // dense tensor-core peak of the input type, all SMs; a file that
                                // leaves it out means the GPU's of that type
  Sourced mainloop_efficiency;  // fraction of the SM's peak inside the k loop
  Sourced tile_overhead_us;     // per tile and SM: pipeline fill and the part of the epilogue that
                                // the next tile does not hide
  Sourced hbm_efficiency;       // fraction of the HBM bandwidth its streams reach
  Sourced pJ_per_FLOP;          // switching energy at full clock on random data; 0: not known, its
                                // efficiency holds the clock
  // Part of the HBM time of accumulators in memory that no tile's main loop hides.
  Sourced accumulate_exposed = {};
  bool fixed_grid = false;  // a block for each SM of the launch, whose tiles no other computes

  bool exists() const { return peak_TFLOPS.value > 0; }
};

// Constants of one fused attention kernel; sim/cost/attention.h gives the formula.
struct AttentionKernelSpec {
  Sourced peak_TFLOPS;
  Sourced mainloop_efficiency;  // fraction of the SM's peak that the matrix products alone reach
  Sourced softmax_us;           // the softmax alone, per 128x128 scores and SM
  Sourced tile_overhead_us;     // per tile and SM with d_qk + d_v = 256: first loads, last stores
  Sourced pJ_per_FLOP;          // as a GEMM's
  // Part of the longest tile for which SMs wait at the end; 0: long tiles of all heads come first.
  Sourced tail = {0.5, Source::kAssumed, "", "", ""};
  // 1: blocks of scores outside a sliding window are left out; 0: computed as if there were none.
  Sourced skips_window = {1, Source::kAssumed, "", "", ""};
};

// An implementation of attention; a stack picks one by its name.
struct AttentionKernels {
  std::string name;  // "flash_attention_2", "flash_attention_3", "cudnn"
  AttentionKernelSpec forward, backward;
};

// What limits the clock; sim/cost/power.h gives the formula. limit_W 0: nothing known, so that the
// kernels' efficiencies hold the clock that they were measured at.
struct PowerSpec {
  Sourced limit_W;
  Sourced static_W;     // of the busy GPU beside the switching in its tensor cores and HBM traffic
  Sourced pJ_per_byte;  // of HBM traffic. 0, not known: kernels keep the clocks that each has alone
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

// Kernels that share their rate constants: the memory-bound ones by access pattern, the GEMMs in
// the order of GemmKernel (sim/cost/gemm.h), the default attention.
constexpr int kRateFamilies = kAccessPatterns + 9;
constexpr int kFirstGemmFamily = kAccessPatterns;
constexpr int kAttentionForwardFamily = kAccessPatterns + 7;
constexpr int kAttentionBackwardFamily = kAccessPatterns + 8;
extern const std::string_view kRateFamilyNames[kRateFamilies];  // "memory_bound stream", ...

// Errors of the kernels of a family at the points that a calibration held back.
struct HeldOutErrors {
  double points = 0;
  double rms_ln = 0;  // root mean square of ln(predicted / measured)
};

// Generations, as NCCL distinguishes them.
enum class GpuArchitecture : uint8_t { kVolta, kAmpere, kHopper, kBlackwell };
constexpr int kGpuArchitectures = 4;
extern const std::string_view kGpuArchitectureNames[kGpuArchitectures];

// Kernels and peaks that a GPU does not have are left out of its file; their peak is then 0.
struct GpuSpec {
  std::string name;
  GpuArchitecture architecture = GpuArchitecture::kHopper;
  Sourced sm_count;
  Sourced hbm_capacity_GiB;
  Sourced hbm_bandwidth_GBps;
  Sourced bf16_dense_TFLOPS;  // tensor-core peak without sparsity: the denominator of MFU
  Sourced fp8_dense_TFLOPS;
  Sourced fp4_dense_TFLOPS;
  GemmKernelSpec gemm_bf16;          // and FP16
  GemmKernelSpec gemm_fp8;           // 1x128 by 128x128 scales, BF16 out: fprop and dgrad
  GemmKernelSpec gemm_fp8_wgrad;     // 1x128 by 1x128 scales, FP32 accumulated into the gradient
  GemmKernelSpec gemm_fp8_tensor;    // one scale per tensor
  GemmKernelSpec gemm_mxfp8;         // E8M0 scales per 1x32
  GemmKernelSpec gemm_nvfp4;         // E4M3 scales per 1x16, an FP32 one per tensor
  GemmKernelSpec gemm_bf16_grouped;  // of experts; gemm_bf16's unless given
  // The one that a stack gets which names none.
  AttentionKernelSpec attention_forward;
  AttentionKernelSpec attention_backward;
  std::vector<AttentionKernels> attention_kernels;  // by name; "..._fp8": of FP8 operands
  PowerSpec power;
  Sourced hbm_efficiency[kAccessPatterns];
  Sourced kernel_fixed_us;  // start and drain of a kernel on the GPU, beyond its work
  Sourced launch_gap_us;    // between two dependent kernels of one stream
  // The same where kernels are launched one by one and not as a CUDA graph; launch_gap_us unless
  // given.
  Sourced stream_launch_gap_us;
  // What a kernel finds there of its inputs takes no HBM bandwidth (sim/exec/l2_reuse.h). 0: not
  // modelled.
  Sourced l2_capacity_MiB;
  Sourced l2_bandwidth_GBps;  // of reads and writes together, at the full clock
  // Of the calibration that the profile comes from ("": none), by family.
  std::string calibration;
  HeldOutErrors held_out[kRateFamilies];
};

// The kernels of that name ("": the default), or nullptr when the GPU has none.
const AttentionKernelSpec* attention_forward_kernel(const GpuSpec& gpu, std::string_view name);
const AttentionKernelSpec* attention_backward_kernel(const GpuSpec& gpu, std::string_view name);

}  // namespace orrery
