// Rotary position embedding (arXiv 2104.09864) of BF16 heads, in place.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/rope/rope_table.h"

namespace orrery::kernels {

// Rotates columns [column, column + n) of each of the `heads` heads, `width` columns wide, with
// which every row of x begins. Row r is at position r % seq_len.
struct RopeParams {
  int64_t rows = 0, heads = 0;
  int64_t width = 0, column = 0;  // multiples of 8
  int64_t row_stride = 0;         // elements from a row to the next; 0: heads · width
  int64_t n = 0;                  // a multiple of 8 (kInterleaved) or 16 (kHalf)
  int64_t seq_len = 0;
  const float2* table = nullptr;  // (cos, sin), [seq_len][n / 2], as rope_table fills it
  RopeStyle style = RopeStyle::kInterleaved;
  bool inverse = false;  // the gradient: sin negated
  bf16* x = nullptr;
};
Status rope(const RopeParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
