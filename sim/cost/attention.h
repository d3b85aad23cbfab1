// Time of fused attention (FlashAttention, cuDNN): one CTA per 128 rows of one head's scores.
//
// FLOPs. Forward: S = Q K^T and O = P V, 2 H L^2 (d_qk + d_v) for H heads and length L. Backward:
// the five products S = Q K^T, dP = dO V^T, dV = P^T dO, dQ = dS K, dK = dS^T Q, that is
// 2 H L^2 (3 d_qk + 2 d_v); with d_qk = d_v 2.5 times the forward. A causal mask halves both: the
// convention of published TFLOP/s, without the masked half of the diagonal blocks.
//
// Forward and main backward kernel. A 128x128 block of scores takes one SM
//   products = 2 * 128^2 * (d_qk + d_v) / (SM peak * mainloop_efficiency)
//   block_seconds = sqrt(products^2 + softmax_us^2)
// (3 d_qk + 2 d_v in the backward): the tensor cores and the units that do the softmax (16384
// exponentials at 16 a clock, 0.56 us on an H100, with their scaling, maxima and sums) overlap in
// part; the root of the squares lies between their sum (no overlap) and the larger (all of it). One
// pair of constants then fits head dimensions 64, 128 and 256, and V3's 192/128. A tile is a row of
// blocks, or a column in
// the backward, all n = ceil(L / 128) of them or on average (n + 1) / 2 with a causal mask, plus
// tile_overhead_us * (d_qk + d_v) / 256, since the loads and stores outside the loop grow with the
// head. Tiles are H * n:
//   full:    ceil(tiles / SMs) * tile_seconds
//   causal:  max(longest, work / SMs + tail * longest), the end at which tiles of unequal length
//            leave SMs idle: half of the longest unless they are sorted by length across heads
// A kernel takes kernel_fixed_us plus that, or the time of its HBM traffic if longer. The backward
// runs a preprocess kernel (row sums of dO * O, clearing the FP32 dQ) and a postprocess kernel (dQ
// to BF16) around the main one; both stream through HBM.
//
// Constants: FlashAttention-3 on an H100, 36 forward figures of head dimensions 64, 128 and 256,
// two of three fitted: median 3.2 %, held out 4.1 % (largest 18 %, causal rows of 512); backward, 5
// of head dimension 128: 1 %, held out 4 %. FlashAttention-2 and cuDNN on it likewise (4.4 and 4.4
// %, 2.7 and 2.6 %). Not fitted: DeepSeek's H800 trace, 128 heads of 192/128, L = 4096, 112 SMs,
// where the forward is 5 % slow (1.24 ms measured) and the main backward 3 % slow (3.78 ms).
// A sliding window of W keys leaves row i of blocks min(i + 1, 1 + ceil((W - 1) / 128)) blocks, and
// S·W - W²/2 scores of a sequence. Kernels with skips_window 0 compute all causal blocks all the
// same. Valid for head dimensions 64 to 256 and L >= 512. Ignored: variable length, splits over
// keys (decoding).
#pragma once

#include <cstdint>

#include "sim/cost/roofline.h"

namespace orrery {

// BF16 self-attention. Multi-query and grouped-query attention share K and V between heads, which
// changes the traffic only.
struct AttentionShape {
  int64_t batch = 1;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t length = 0;
  int64_t d_qk = 0, d_v = 0;
  bool causal = true;
  int64_t window = 0;  // causal: keys before and at each query; 0: all
};

Flops attention_forward_flops(const AttentionShape& shape);
Flops attention_backward_flops(const AttentionShape& shape);

// HBM traffic, each operand once: of the forward (Q, K, V, O), and of the backward's preprocess
// (O, dO, FP32 dQ), main (Q, K, V, dO, dK, dV, FP32 dQ added once) and postprocess kernel (dQ).
// Row statistics, below 2 %, are left out.
Bytes attention_forward_bytes(const AttentionShape& shape);
Bytes attention_preprocess_bytes(const AttentionShape& shape);
Bytes attention_backward_bytes(const AttentionShape& shape);
Bytes attention_postprocess_bytes(const AttentionShape& shape);

// `spec`: the kernel's constants, of the GPU.
double attention_forward_seconds(const GpuSpec& gpu, const AttentionKernelSpec& spec,
                                 const AttentionShape& shape, const GpuShare& share);
double attention_preprocess_seconds(const GpuSpec& gpu, const AttentionShape& shape,
                                    const GpuShare& share);
// The main kernel alone; a backward pass is preprocess + backward + postprocess.
double attention_backward_seconds(const GpuSpec& gpu, const AttentionKernelSpec& spec,
                                  const AttentionShape& shape, const GpuShare& share);
double attention_postprocess_seconds(const GpuSpec& gpu, const AttentionShape& shape,
                                     const GpuShare& share);

}  // namespace orrery
