// Gathering and summing of whole rows: what permute, unpermute, packing and combining have in
// common.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// out[r] = x[index[r] / divisor], zeros (and scales of 1) where the index is -1. Either x and out,
// or x8 and out8.
struct GatherRowsParams {
  int64_t capacity = 0, cols = 0;  // of out; cols a multiple of 8 (FP8: 16)
  const int32_t* rows = nullptr;   // on the device: rows to write, at most capacity; nullptr: all
  const int32_t* index = nullptr;  // [capacity]
  int64_t divisor = 1;
  const bf16* x = nullptr;
  bf16* out = nullptr;
  Fp8View x8 = {}, out8 = {};
};
Status gather_rows(const char* kernel, const GatherRowsParams& p, cudaStream_t stream);

// Every row of x to k places: out[index[r · k + j]] = x[r] for j < k, without those of -1; each row
// of x is read once. Rows whose `filled` is -1 become zeros (with scales of 1). Either x and out,
// or x8 and out8.
struct ScatterRowsParams {
  int64_t count = 0, cols = 0, k = 0;  // rows of x; cols a multiple of 8 (FP8: 16)
  const int32_t* index = nullptr;      // [count, k], each row of out at most once
  int64_t capacity = 0;                // of out
  const int32_t* rows = nullptr;    // on the device: rows to write, at most capacity; nullptr: all
  const int32_t* filled = nullptr;  // [capacity]; may be nullptr: none becomes zeros
  const bf16* x = nullptr;
  bf16* out = nullptr;
  Fp8View x8 = {}, out8 = {};
};
Status scatter_rows(const char* kernel, const ScatterRowsParams& p, cudaStream_t stream);

// out[r] = sum over j < k, in order, of weights[i] · x[i] with i = index[r · k + j], without those
// of -1, + addend[r]; summed in FP32.
struct SumRowsParams {
  int64_t rows = 0, cols = 0, k = 0;  // cols: a multiple of 8
  const int32_t* index = nullptr;     // [rows, k]
  const float* weights = nullptr;     // one per row of x; nullptr: 1
  const bf16* x = nullptr;            // [., cols]
  const bf16* addend = nullptr;       // [rows, cols]; may be nullptr
  bf16* out = nullptr;                // [rows, cols]; may be addend
};
Status sum_rows(const char* kernel, const SumRowsParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
