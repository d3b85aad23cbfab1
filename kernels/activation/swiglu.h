// SwiGLU (arXiv 2002.05202): act = silu(gate) · up with gate_up = [gate | up], BF16 [rows, 2w],
// and FP32 arithmetic. w is a multiple of 8 (16 for FP8 outputs), pointers are 16-byte aligned, and
// rows · w is at most 2^34.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

struct SwiGluParams {
  int64_t rows = 0, w = 0;
  const bf16* gate_up = nullptr;  // [rows, 2w]
  bf16* out = nullptr;            // [rows, w]
};
Status swiglu(const SwiGluParams& p, cudaStream_t stream);

// Quantised from the FP32 result: act is not rounded to BF16 in between.
struct SwiGluCastParams {
  int64_t rows = 0, w = 0;
  const bf16* gate_up = nullptr;  // [rows, 2w]
  Fp8View out;                    // [rows, w]
};
Status swiglu_cast(const SwiGluCastParams& p, cudaStream_t stream);

// The same with the transpose as output: a scale per 128 rows of a column of act. rows is a
// multiple of 16.
struct SwiGluCastTransposeParams {
  int64_t rows = 0, w = 0;
  const bf16* gate_up = nullptr;  // [rows, 2w]
  Fp8View out;                    // [w, rows]
};
Status swiglu_cast_transpose(const SwiGluCastTransposeParams& p, cudaStream_t stream);

// With a weight k per row (1 when row_weight is null): act_out = k · act, and dgate_up is the
// gradient of k · act.
struct SwiGluBackwardParams {
  int64_t rows = 0, w = 0;
  const bf16* gate_up = nullptr;      // [rows, 2w]
  const bf16* dact = nullptr;         // [rows, w]
  const float* row_weight = nullptr;  // [rows]; may be null
  bf16* act_out = nullptr;            // [rows, w]; may be null
  bf16* dgate_up = nullptr;           // [rows, 2w]; may be gate_up
};
Status swiglu_backward(const SwiGluBackwardParams& p, cudaStream_t stream);

// Gradient of the row weights: out[row_slot[r]] = <act[r], dact[r]> / row_weight[r], 0 for a weight
// of 0. Rows of slot -1 are skipped; no two rows share a slot.
struct SwiGluWeightBackwardParams {
  int64_t rows = 0, w = 0;
  const bf16* act = nullptr;          // [rows, w], already multiplied by the row weight
  const bf16* dact = nullptr;         // [rows, w]
  const float* row_weight = nullptr;  // [rows]
  const int32_t* row_slot = nullptr;  // [rows]
  float* out = nullptr;
};
Status swiglu_weight_backward(const SwiGluWeightBackwardParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
