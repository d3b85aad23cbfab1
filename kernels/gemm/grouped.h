// GEMMs of groups of rows (the tokens of an expert) whose sizes only the GPU knows: the group's
// rows are offsets[g] up to offsets[g + 1], on the device. Groups may be empty. Rows outside all
// groups are not written and change nothing. Row-major; pointers 16-byte aligned; sums are FP32;
// bit for bit the same every time.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/gemm/layout.h"

namespace orrery::kernels {

// C[r] = A[r]·B[g], for the rows r of every group g. n, k: multiples of 8.
struct GroupedGemmBf16Params {
  Layout layout = Layout::kNT;  // kNT: b is [groups, n, k]; kNN: [groups, k, n]
  int64_t groups = 0, max_rows = 0;
  int64_t n = 0, k = 0;
  const int32_t* offsets = nullptr;  // [groups + 1], offsets[groups] <= max_rows
  const bf16* a = nullptr;           // [max_rows, k]
  const bf16* b = nullptr;
  bf16* c = nullptr;  // [max_rows, n]
};
Status grouped_gemm_bf16(const GroupedGemmBf16Params& p, cudaStream_t stream);

// C[r] = A[r]·B[g]ᵀ. n, k: multiples of 16.
struct GroupedGemmFp8Params {
  int64_t groups = 0, max_rows = 0;
  int64_t n = 0, k = 0;
  const int32_t* offsets = nullptr;  // [groups + 1], offsets[groups] <= max_rows
  Fp8View a;                         // [max_rows, k]
  Fp8Block b;                        // [n, k], of the first group; data and scales of others follow
  bf16* c = nullptr;                 // [max_rows, n]
  int sms = 0;                       // multiprocessors to run on at most; 0: all
};
Status grouped_gemm_fp8(const GroupedGemmFp8Params& p, cudaStream_t stream);

// C[m, n] += A[g]ᵀ·B[g], over the rows of a group, for `groups` groups from `group` on, of each
// into a C of its own; without `accumulate`, C = that, zeros for empty groups. m, n: multiples
// of 8.
struct GroupWgradBf16Params {
  int64_t group = 0;
  const int32_t* offsets = nullptr;  // at least group + groups + 1, none past `rows`
  int64_t rows = 0;                  // of all groups, or more
  int64_t m = 0, n = 0;
  const bf16* a = nullptr;  // [rows, m]
  const bf16* b = nullptr;  // [rows, n]
  float* c = nullptr;       // [groups, m, n]
  int64_t groups = 1;
  bool accumulate = true;
};
Status group_wgrad_bf16(const GroupWgradBf16Params& p, cudaStream_t stream);

// The same from transposes whose rows run over the tokens of all groups, which begin at multiples
// of 128. n: a multiple of 8; a.cols and b.cols: of 16.
struct GroupWgradFp8Params {
  int64_t group = 0;
  const int32_t* offsets = nullptr;  // at least group + groups + 1
  int64_t m = 0, n = 0;
  Fp8View a;           // [m, rows]
  Fp8View b;           // [n, rows]
  float* c = nullptr;  // [groups, m, n]
  int64_t groups = 1;
  int sms = 0;
  bool accumulate = true;
};
Status group_wgrad_fp8(const GroupWgradFp8Params& p, cudaStream_t stream);

}  // namespace orrery::kernels
