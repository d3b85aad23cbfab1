// RMSNorm (arXiv 1910.07467), forward and backward, BF16 with FP32 arithmetic.
//
// All matrices are [rows, cols]. cols: a multiple of 8, at most kMaxNormCols; pointers 16-byte
// aligned.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/norm/partition.h"

namespace orrery::kernels {

constexpr int64_t kMaxNormCols = 16384;

// sum = BF16(x + addends); out = sum / sqrt(mean(sum²) + eps) · weight.
struct RmsNormParams {
  int64_t rows = 0, cols = 0;
  const bf16* x = nullptr;
  const bf16* addend[2] = {};    // each may be nullptr
  const bf16* weight = nullptr;  // [cols]
  float eps = 0;
  bf16* sum = nullptr;  // may be x or an addend; may be nullptr without addends
  bf16* out = nullptr;  // may be x when sum is nullptr
};
Status rms_norm(const RmsNormParams& p, cudaStream_t stream);

// dx = residual_grad + gradient of the norm at x; partial[b, c] = sum of dy · x / rms(x) over the
// rows of block b (partition.h), for rms_norm_reduce.
struct RmsNormBackwardParams {
  int64_t rows = 0, cols = 0;
  const bf16* dy = nullptr;
  int64_t ld_dy = 0;                    // elements from one row of dy to the next, a multiple of 8
  const bf16* x = nullptr;              // what was normalised: the forward's sum
  const bf16* weight = nullptr;         // [cols]
  const bf16* residual_grad = nullptr;  // gradient that reaches x past the norm; may be nullptr
  float eps = 0;
  bf16* dx = nullptr;        // may be residual_grad; may be dy when ld_dy is cols
  float* partial = nullptr;  // [kNormBlocks, cols], written whole, also for rows = 0
};
Status rms_norm_backward(const RmsNormBackwardParams& p, cudaStream_t stream);

// weight_grad[c] += sum over blocks of partial[b, c].
struct RmsNormReduceParams {
  int64_t cols = 0;
  const float* partial = nullptr;  // [kNormBlocks, cols]
  float* weight_grad = nullptr;    // [cols]
};
Status rms_norm_reduce(const RmsNormReduceParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
