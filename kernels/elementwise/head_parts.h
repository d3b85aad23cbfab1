// Rows of all heads cut into those of several ranks' heads, and back: what an all-to-all between
// heads and positions sends and gets.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// Between whole [sequences, length, width] and split [sequences, parts, length, width / parts]. A
// row has `first` elements of one kind (all keys, say) and the rest of another, each cut into
// `parts` pieces; a piece of the first kind precedes that of the other. Pieces are multiples of 8
// elements, pointers 16-byte aligned.
struct HeadPartsParams {
  int64_t sequences = 0, length = 0;
  int64_t width = 0, first = 0;  // first: 0 to width
  int64_t parts = 1;
  const bf16* x = nullptr;
  bf16* out = nullptr;
};
Status split_heads(const HeadPartsParams& p, cudaStream_t stream);  // x is whole
Status join_heads(const HeadPartsParams& p, cudaStream_t stream);   // x is split

}  // namespace orrery::kernels
