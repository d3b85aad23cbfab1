// cuBLASLt matmuls whose descriptors and algorithm are kept per shape.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "kernels/base/status.h"

namespace orrery::kernels {

// D = alpha op(A)·op(B) + beta C in cuBLASLt's own terms: column-major, D[m, n]. A batch is of
// matrices that follow each other.
struct LtShape {
  bool transpose_a = false, transpose_b = false;
  int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldd = 0;
  cudaDataType_t operand = CUDA_R_16BF, result = CUDA_R_16BF;
  bool accumulate = false;  // beta is 1
  int32_t batch = 1;
  int32_t a_scale_mode = kNoScales, b_scale_mode = kNoScales;  // cublasLtMatmulMatrixScale_t
  uint32_t a_alignment = 0, b_alignment = 0, d_alignment = 0;  // of the pointers, bytes

  static constexpr int32_t kNoScales = -1;
  auto operator<=>(const LtShape&) const = default;
};

// The largest power of two up to 256 that divides a pointer: what cuBLASLt wants to know of it.
uint32_t lt_alignment(const void* p);

struct LtOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  void* d = nullptr;
  const float* a_scales = nullptr;
  const float* b_scales = nullptr;
  const void* c = nullptr;  // laid out as D is; nullptr: D itself
  float alpha = 1, beta = 0;
};

class LtPlans {
 public:
  LtPlans(void* workspace, std::size_t workspace_bytes);
  ~LtPlans();
  LtPlans(const LtPlans&) = delete;
  LtPlans& operator=(const LtPlans&) = delete;

  // *taken: whether cuBLASLt has an algorithm for the shape; if not, nothing was launched.
  Status run(const char* name, const LtShape& shape, const LtOperands& operands, bool* taken,
             cudaStream_t stream);

 private:
  struct Plan;
  Status make(const LtShape& shape, const LtOperands& operands, Plan& plan);

  void* workspace_;
  std::size_t workspace_bytes_;
  cublasLtHandle_t handle_ = nullptr;
  std::string creation_error_;
  std::map<LtShape, std::unique_ptr<Plan>> plans_;
};

}  // namespace orrery::kernels
