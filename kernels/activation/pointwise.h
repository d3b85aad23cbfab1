// Ungated activations, BF16 with FP32 arithmetic; the formulas are in pointwise_reference.h. w is a
// multiple of 8, pointers are 16-byte aligned, and rows · w is at most 2^34.
#pragma once

#include <cuda_runtime.h>

#include "kernels/activation/pointwise_reference.h"
#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

struct PointwiseParams {
  Pointwise f = Pointwise::kGelu;
  int64_t rows = 0, w = 0;
  const bf16* x = nullptr;  // [rows, w]
  bf16* out = nullptr;      // may be x
};
Status pointwise(const PointwiseParams& p, cudaStream_t stream);

// With a weight k per row (1 when row_weight is null): act_out = k · f(x), and dx is the gradient
// of k · f(x).
struct PointwiseBackwardParams {
  Pointwise f = Pointwise::kGelu;
  int64_t rows = 0, w = 0;
  const bf16* x = nullptr;
  const bf16* dact = nullptr;
  const float* row_weight = nullptr;  // [rows]; may be null
  bf16* act_out = nullptr;            // may be null
  bf16* dx = nullptr;                 // may be x or dact
};
Status pointwise_backward(const PointwiseBackwardParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
