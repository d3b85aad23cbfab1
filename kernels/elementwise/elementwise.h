// Copies, sums and scalings of BF16 tensors. Widths, columns and element counts are multiples of 8,
// pointers 16-byte aligned, and a tensor has at most 2^34 elements. Sums are taken in FP32.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// Columns [column, column + width) of every head, contiguous: x [rows, heads, in_width] to out
// [rows, heads, width].
struct CopySliceParams {
  int64_t rows = 0, heads = 0;
  int64_t in_width = 0, column = 0, width = 0;
  const bf16* x = nullptr;
  bf16* out = nullptr;
};
Status copy_slice(const CopySliceParams& p, cudaStream_t stream);

// Every head of out [rows, heads, a_width + b_width] is the first a_width columns of that head of a
// [rows, heads, a_from], then the first b_width columns of b: of that head of [rows, heads,
// b_from], or, with broadcast_b, of row [rows, b_from], which all heads share.
struct ConcatHeadsParams {
  int64_t rows = 0, heads = 0;
  const bf16* a = nullptr;
  int64_t a_width = 0;
  const bf16* b = nullptr;
  int64_t b_width = 0;
  int64_t a_from = 0, b_from = 0;
  bool broadcast_b = false;
  bf16* out = nullptr;
};
Status concat_heads(const ConcatHeadsParams& p, cudaStream_t stream);

// Columns [column, column + width) of x [rows, heads, in_width] summed over the heads: out
// [rows, width].
struct ReduceHeadsParams {
  int64_t rows = 0, heads = 0;
  int64_t in_width = 0, column = 0, width = 0;
  const bf16* x = nullptr;
  bf16* out = nullptr;
};
Status reduce_heads(const ReduceHeadsParams& p, cudaStream_t stream);

// out[i] = inputs[0][i] + ... + inputs[count - 1][i].
struct AddParams {
  int64_t n = 0;
  const bf16* inputs[4] = {};
  int count = 0;        // 1 to 4
  bf16* out = nullptr;  // may be an input
};
Status add(const AddParams& p, cudaStream_t stream);

// out[i] = factor · x[i].
struct ScaleParams {
  int64_t n = 0;
  float factor = 1;
  const bf16* x = nullptr;
  bf16* out = nullptr;  // may be x
};
Status scale(const ScaleParams& p, cudaStream_t stream);

// The same of FP32, any n.
struct ScaleFp32Params {
  int64_t n = 0;
  float factor = 1;
  const float* x = nullptr;
  float* out = nullptr;  // may be x
};
Status scale_fp32(const ScaleFp32Params& p, cudaStream_t stream);

}  // namespace orrery::kernels
