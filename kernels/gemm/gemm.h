// Dense GEMMs: BF16 by cuBLASLt; FP8 by the project's own kernels (fp8_gemm.h, and tile_gemm.h for
// scales in any order), or by cuBLASLt where it takes the scales. Matrices are row-major; sums are
// FP32; results do not depend on timing.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/gemm/layout.h"

namespace orrery::kernels {

class LtPlans;

// Whose FP8 GEMMs run: the faster ones by what was measured (NOTES.md); cuBLASLt's wherever it
// takes the scales; the project's.
enum class Fp8Gemms { kFastest, kCublasLt, kOwn };

// cuBLASLt's handle, and the algorithms that it chose for the shapes seen. For one host thread and
// one stream at a time: its GEMMs share the workspace.
class GemmContext {
 public:
  // `workspace`: device memory, 256-byte aligned, for GEMMs that split K; 32 MiB is what cuBLAS
  // recommends for Hopper. nullptr and 0: without.
  GemmContext(void* workspace, std::size_t workspace_bytes);
  ~GemmContext();
  GemmContext(const GemmContext&) = delete;
  GemmContext& operator=(const GemmContext&) = delete;

  Fp8Gemms fp8_gemms = Fp8Gemms::kFastest;

  // FP8 GEMMs launched so far by each of the two.
  int64_t fp8_cublaslt_launches = 0, fp8_own_launches = 0;

  LtPlans& plans() { return *plans_; }

 private:
  std::unique_ptr<LtPlans> plans_;
};

enum class GemmOutput { kBf16, kFp32 };

// C[m, n] = A·B, or in FP32 C += A·B. lda, ldb, ldc: elements from one row as stored to the next,
// multiples of 8 (FP32 C: 4). Pointers 16-byte aligned. The dimension that is contiguous, of A and
// of B, is a multiple of 8; m, n and k may be 0.
struct GemmBf16Params {
  Layout layout = Layout::kNT;
  int64_t m = 0, n = 0, k = 0;
  const bf16* a = nullptr;
  int64_t lda = 0;
  const bf16* b = nullptr;
  int64_t ldb = 0;
  void* c = nullptr;
  int64_t ldc = 0;
  GemmOutput c_type = GemmOutput::kBf16;
  bool accumulate = false;
};
Status gemm_bf16(GemmContext& context, const GemmBf16Params& p, cudaStream_t stream);

// C[m, n] = A·Bᵀ. n, k: multiples of 16. Every 128 of K is summed in the tensor cores, scaled and
// added in FP32. cuBLASLt takes it when m and n are multiples of 16, a.row_stride is 1,
// a.tile_stride m, and tiles(k) a multiple of 4.
struct GemmFp8Params {
  int64_t m = 0, n = 0, k = 0;
  Fp8View a;   // [m, k]
  Fp8Block b;  // [n, k]
  bf16* c = nullptr;
  int sms = 0;  // multiprocessors that the project's own kernels use at most; 0: all
};
Status gemm_fp8(GemmContext& context, const GemmFp8Params& p, cudaStream_t stream);

// C[m, n] += A·Bᵀ, or C = A·Bᵀ: a gradient of weights, from transposes whose rows run over tokens.
// k: a multiple of 16, n of 8. cuBLASLt takes it when m and n are multiples of 16 and for both A
// and B row_stride is 1 and tile_stride is the number of rows.
struct GemmFp8WgradParams {
  int64_t m = 0, n = 0, k = 0;
  Fp8View a, b;  // [m, k], [n, k]
  float* c = nullptr;
  int sms = 0;
  bool accumulate = true;
};
Status gemm_fp8_wgrad(GemmContext& context, const GemmFp8WgradParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
