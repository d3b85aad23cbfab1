// Grouped-query attention, causal or over a block of keys, forward and backward, in tiles
// (FlashAttention-2, arXiv 2307.08691): BF16 operands and probabilities, FP32 accumulation and
// softmax. Deterministic.
//
// Any sequence length. d_qk and d_v: multiples of 8, at most 256; (192, 128), (128, 128), (96, 64)
// and (64, 64) run without padding, others as the next of these or (256, 256). Row strides (ld*,
// elements from one token to the next) are multiples of 8, pointers 16-byte aligned. No output may
// overlap an input or another output, except that rows of several tensors may interleave.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention/shape.h"
#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

constexpr int64_t kMaxHeadWidth = 256;

// out = softmax(scale · q·kᵀ over the keys that the query sees) · v. Of a query that sees none out
// is 0 and lse minus infinity.
struct AttentionForwardParams {
  AttentionShape shape;
  float scale = 0;  // above 0
  const bf16* q = nullptr;
  int64_t ldq = 0;
  const bf16* k = nullptr;
  int64_t ldk = 0;
  const bf16* v = nullptr;
  int64_t ldv = 0;
  bf16* out = nullptr;
  int64_t ldo = 0;
  float* lse = nullptr;  // [tokens, heads]: natural log of the sum of exp(scaled scores)
};
Status attention_forward(const AttentionForwardParams& p, cudaStream_t stream);

// Gradients of q, k and v (overwritten) from those of out; dk and dv are summed over the query
// heads that share a key head. The probabilities are recomputed from lse. Where the keys are a
// block of more, out and lse are those over all of them, and the gradients what this block adds.
struct AttentionBackwardParams {
  AttentionShape shape;
  float scale = 0;  // above 0
  const bf16* q = nullptr;
  int64_t ldq = 0;
  const bf16* k = nullptr;
  int64_t ldk = 0;
  const bf16* v = nullptr;
  int64_t ldv = 0;
  const bf16* out = nullptr;
  int64_t ldo = 0;
  const bf16* dout = nullptr;
  int64_t lddo = 0;
  const float* lse = nullptr;
  bf16* dq = nullptr;
  int64_t lddq = 0;
  bf16* dk = nullptr;
  int64_t lddk = 0;
  bf16* dv = nullptr;
  int64_t lddv = 0;
  void* workspace = nullptr;  // 16-byte aligned, overwritten
  std::size_t workspace_bytes = 0;
};
Status attention_backward(const AttentionBackwardParams& p, cudaStream_t stream);
std::size_t attention_backward_workspace(const AttentionShape& shape);  // bytes

}  // namespace orrery::kernels
