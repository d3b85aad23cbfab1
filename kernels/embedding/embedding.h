// Embedding look-up and its gradient. cols is a multiple of 8, matrices are 16-byte aligned.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// out[r] = table[ids[r]]; zeros for a negative id, NaN for one of `vocab` or more.
struct EmbeddingForwardParams {
  int64_t rows = 0, cols = 0, vocab = 0;
  const int32_t* ids = nullptr;  // [rows]
  const bf16* table = nullptr;   // [vocab, cols]
  bf16* out = nullptr;           // [rows, cols]
};
Status embedding_forward(const EmbeddingForwardParams& p, cudaStream_t stream);

// grad[ids[r]] += dx[r]; ids outside [0, vocab) are skipped. Rows of the same id are added up in
// their order before they reach the gradient.
struct EmbeddingBackwardParams {
  int64_t rows = 0, cols = 0, vocab = 0;
  const int32_t* ids = nullptr;  // [rows]
  const bf16* dx = nullptr;      // [rows, cols]
  float* grad = nullptr;         // [vocab, cols]
};
Status embedding_backward(const EmbeddingBackwardParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
