// Time and bytes of attention before FlashAttention, as Megatron-LM of 2021 runs it (arXiv
// 2104.04473, 2205.05198): scores are written out, and the causal mask saves nothing.
//
// Forward, for B sequences, H heads, length L:
//   S = Q K^T       B H products [L, d_qk] x [d_qk, L]: the library GEMM of that many groups
//   P = softmax     one fused kernel scales, masks and normalises: 2 bytes a score read, 2 written
//   D = dropout     2 read; 2 and a byte of mask written; only with dropout
//   O = D V         B H products [L, L] x [L, d_v]
// Backward: dD = dO V^T and dV = D^T dO, dropout (3 read, 2 written), softmax (P and its gradient
// read, 4, 2 written), dQ = dS K and dK = dS^T Q.
// Kept for the backward: P, 2 bytes a score, and with dropout D and the mask, 3 more (the 5 a s^2
// of arXiv 2205.05198, equation 2).
//
// The products use gemm_bf16 (sim/cost/gemm.h) with the groups' rows together, which knows tiles
// and HBM; the maps use AccessPattern::kRowReduce and kStream. Each is a kernel with its fixed
// time. Not fitted on any attention kernel. Ignored: the copies that reorder heads before and after
// (D and the output), grouped-query attention's sharing of K and V.
#pragma once

#include "sim/cost/attention.h"

namespace orrery {

double unfused_attention_forward_seconds(const GpuSpec& gpu, const AttentionShape& shape,
                                         bool dropout, const GpuShare& share);
double unfused_attention_backward_seconds(const GpuSpec& gpu, const AttentionShape& shape,
                                          bool dropout, const GpuShare& share);

}  // namespace orrery
