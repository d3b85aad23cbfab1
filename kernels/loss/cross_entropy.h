// Cross-entropy of a softmax over the vocabulary, and its gradient.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// Eight blocks of a cluster have a row in their shared memory.
constexpr int64_t kMaxVocab = 8 * 112 * 1024;

// row_loss[r] = -log softmax(logits[r])[labels[r]], *loss_sum += their sum, and the logits become
// their gradient (softmax - onehot(label)) · scale. A row of negative label is ignored: loss and
// gradient 0. A label of `vocab` or more makes the row's loss, hence the sum, NaN.
struct CrossEntropyParams {
  int64_t rows = 0, vocab = 0;      // vocab: a multiple of 8, at most kMaxVocab
  bf16* logits = nullptr;           // [rows, vocab], 16-byte aligned
  const int32_t* labels = nullptr;  // [rows]
  float scale = 1;
  float* row_loss = nullptr;  // [rows]
  float* loss_sum = nullptr;
};
Status cross_entropy(const CrossEntropyParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
