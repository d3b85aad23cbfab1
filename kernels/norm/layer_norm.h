// LayerNorm (arXiv 1607.06450), forward and backward, BF16 with FP32 arithmetic.
//
// All matrices are [rows, cols]. cols: a multiple of 8, at most kMaxNormCols; pointers 16-byte
// aligned.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/norm/rms_norm.h"

namespace orrery::kernels {

// sum = BF16(x + addends); out = (sum - mean) / sqrt(variance + eps) · weight + bias.
struct LayerNormParams {
  int64_t rows = 0, cols = 0;
  const bf16* x = nullptr;
  const bf16* addend[2] = {};    // each may be nullptr
  const bf16* weight = nullptr;  // [cols]
  const bf16* bias = nullptr;    // [cols]; may be nullptr
  float eps = 0;
  bf16* sum = nullptr;  // may be x or an addend; may be nullptr without addends
  bf16* out = nullptr;  // may be x when sum is nullptr
};
Status layer_norm(const LayerNormParams& p, cudaStream_t stream);

// dx = residual_grad + gradient of the norm at x. partial[b] has the sums over the rows of block b
// (partition.h) of dy · xhat, [cols], and with `bias` behind them those of dy, [cols].
struct LayerNormBackwardParams {
  int64_t rows = 0, cols = 0;
  const bf16* dy = nullptr;
  int64_t ld_dy = 0;                    // elements from one row of dy to the next, a multiple of 8
  const bf16* x = nullptr;              // what was normalised: the forward's sum
  const bf16* weight = nullptr;         // [cols]
  const bf16* residual_grad = nullptr;  // gradient that reaches x past the norm; may be nullptr
  float eps = 0;
  bool bias = false;
  bf16* dx = nullptr;        // may be residual_grad; may be dy when ld_dy is cols
  float* partial = nullptr;  // [kNormBlocks, cols or 2 · cols], written whole, also for rows = 0
};
Status layer_norm_backward(const LayerNormBackwardParams& p, cudaStream_t stream);

// weight_grad[c] and, where not nullptr, bias_grad[c] += sums over the blocks of `partial`.
struct LayerNormReduceParams {
  int64_t cols = 0;
  const float* partial = nullptr;
  float* weight_grad = nullptr;
  float* bias_grad = nullptr;
};
Status layer_norm_reduce(const LayerNormReduceParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
