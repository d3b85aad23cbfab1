// Arrived rows to the rows of the local experts, and back. Indices are those of ExpertLayout
// (layout_view.h). Pointers to rows are 16-byte aligned, cols a multiple of 8 (FP8: 16).
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// out[r] = x[row_slot[r] / k], zeros (FP8: with scales of 1) for padding. Either x and out, or x8
// and out8, whose scales may be laid out differently.
struct PermuteParams {
  int64_t capacity = 0, cols = 0, k = 0;
  const int32_t* row_slot = nullptr;  // [capacity]
  // The same from x's side, as ExpertLayout has it: x is then read once, not k times. nullptr: do
  // without, and `arrived` is not used.
  const int32_t* slot_row = nullptr;  // [arrived, k]
  int64_t arrived = 0;
  // On the device: only so many rows are written (ExpertLayout::offsets[local_experts]); nullptr:
  // all.
  const int32_t* rows = nullptr;
  const bf16* x = nullptr;  // [arrived, cols]
  bf16* out = nullptr;      // [capacity, cols]
  Fp8View x8 = {}, out8 = {};
};
Status permute(const PermuteParams& p, cudaStream_t stream);

// out[a] = sum over the slots of row a, in order, of weights[row] · y[row], in FP32; rows without
// a local expert become 0.
struct UnpermuteParams {
  int64_t arrived = 0, cols = 0, k = 0;
  const int32_t* slot_row = nullptr;  // [arrived, k]
  const float* weights = nullptr;     // [rows of y], row_weight; nullptr: 1
  const bf16* y = nullptr;            // [capacity, cols]
  bf16* out = nullptr;                // [arrived, cols]
};
Status unpermute(const UnpermuteParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
