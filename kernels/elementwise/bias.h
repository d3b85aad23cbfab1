// Biases and learned positions, BF16 with FP32 gradients. cols is a multiple of 8, pointers are
// 16-byte aligned, and rows · cols is at most 2^34.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// x[r] += vectors[(first + r) % period]: a bias has period 1, positions that of a sequence, of
// whose rows a rank may have those from the `first` on.
struct AddRowsParams {
  int64_t rows = 0, cols = 0, period = 1;
  const bf16* vectors = nullptr;  // [period, cols]
  bf16* x = nullptr;              // [rows, cols]
  int64_t first = 0;
};
Status add_rows(const AddRowsParams& p, cudaStream_t stream);

// grad[i] += sum of dy[r] over the rows with (first + r) % period = i, in an order that does not
// depend on timing.
struct AddRowsBackwardParams {
  int64_t rows = 0, cols = 0, period = 1;
  const bf16* dy = nullptr;  // [rows, cols]
  float* grad = nullptr;     // [period, cols]
  int64_t first = 0;
};
Status add_rows_backward(const AddRowsBackwardParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
