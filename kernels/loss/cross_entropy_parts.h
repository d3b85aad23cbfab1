// Cross-entropy over a vocabulary that is split between ranks (Megatron-LM's vocabulary-parallel
// cross-entropy, arXiv 1909.08053, section 3): each rank brings three numbers of every token, and
// from those of all it has the loss and its columns of the gradient.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// parts[r] = {m, s, l} of this rank's logits: m the largest, s the sum of exp(logit - m), l the
// label's. A negative label is of another rank's part: l is 0. One of `vocab` or more makes it NaN.
struct CrossEntropyPartParams {
  int64_t rows = 0, vocab = 0;      // of this rank; a multiple of 8
  const bf16* logits = nullptr;     // [rows, vocab], 16-byte aligned
  const int32_t* labels = nullptr;  // [rows], counted from the rank's first column
  float* parts = nullptr;           // [rows, 3]
};
Status cross_entropy_part(const CrossEntropyPartParams& p, cudaStream_t stream);

// With M the largest m of a row and S = sum of s · exp(m - M) over the ranks:
// row_loss[r] = log S + M - sum of l, *loss_sum += their sum, and the logits become their gradient
// (exp(logit - M) / S - onehot(label)) · scale.
struct CrossEntropyMergeParams {
  int64_t rows = 0, vocab = 0;  // of this rank; a multiple of 8
  int64_t ranks = 1;
  bf16* logits = nullptr;           // [rows, vocab], 16-byte aligned
  const int32_t* labels = nullptr;  // [rows], as above
  const float* parts = nullptr;     // [ranks, rows, 3]
  float scale = 1;
  float* row_loss = nullptr;  // [rows]
  float* loss_sum = nullptr;  // nullptr: another rank sums
};
Status cross_entropy_merge(const CrossEntropyMergeParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
