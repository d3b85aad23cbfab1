// Equal BF16 GEMMs by cuBLASLt. Matrices are row-major, without gaps, and those of a batch follow
// each other; sums are FP32; results do not depend on timing.
#pragma once

#include "kernels/gemm/gemm.h"

namespace orrery::kernels {

// D[m, n] = alpha A·B + beta C for each of `batch`. Pointers 16-byte aligned; the dimension that is
// contiguous, of A, B and D, is a multiple of 8.
struct BatchedGemmParams {
  Layout layout = Layout::kNT;
  int64_t batch = 0, m = 0, n = 0, k = 0;
  float alpha = 1, beta = 0;
  const bf16* a = nullptr;
  const bf16* b = nullptr;
  const bf16* c = nullptr;  // may be null when beta is 0
  bf16* d = nullptr;
};
Status batched_gemm_bf16(GemmContext& context, const BatchedGemmParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
