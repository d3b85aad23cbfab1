// Tokens as a rank sees them that holds a range of the vocabulary (Megatron-LM's
// vocabulary-parallel embedding, arXiv 1909.08053, section 3).
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"

namespace orrery::kernels {

// out[s · out_stride + i] = ids[s · stride + i] - first where that is in [0, vocab); else -1, which
// the embedding takes for zeros and the loss for a label of another rank.
struct LocalIdsParams {
  int64_t sequences = 0, length = 0;
  int64_t stride = 0;            // elements from one sequence to the next
  int64_t out_stride = 0;        // the same of out, at least length
  int64_t first = 0, vocab = 0;  // of this rank's range
  const int32_t* ids = nullptr;
  int32_t* out = nullptr;
};
Status local_ids(const LocalIdsParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
