// Outputs of attention over parts of the keys merged into that over all of them, as the steps of a
// context-parallel ring need it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/attention/shape.h"
#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// lse = log of the sum of exp(lses), out = sum of the parts' outs weighted by exp(their lse - lse);
// FP32 inside. A part that sees no key has lse minus infinity and counts nothing; of every row some
// part sees one. d_v is a multiple of 8, outs are 16-byte aligned.
struct AttentionMergeParams {
  int64_t rows = 0, heads = 0, d_v = 0;
  int parts = 0;                            // 1 to kMaxMergedParts
  const bf16* outs[kMaxMergedParts] = {};   // [rows, heads, d_v]
  const float* lses[kMaxMergedParts] = {};  // [rows, heads]
  bf16* out = nullptr;
  float* lse = nullptr;
};
Status attention_merge(const AttentionMergeParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
