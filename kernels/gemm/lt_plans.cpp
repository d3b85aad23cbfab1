#include "kernels/gemm/lt_plans.h"

#include <algorithm>

namespace orrery::kernels {
namespace {

Status lt_status(const char* call, cublasStatus_t status) {
  if (status == CUBLAS_STATUS_SUCCESS) return {};
  return failed(std::string(call).append(": ").append(cublasLtGetStatusName(status)));
}

// Owns one of cuBLASLt's opaque objects.
template <class Handle, auto kDestroy>
struct LtObject {
  Handle handle = nullptr;
  LtObject() = default;
  LtObject(const LtObject&) = delete;
  LtObject& operator=(const LtObject&) = delete;
  ~LtObject() {
    if (handle != nullptr) kDestroy(handle);
  }
};
using LtDescriptor = LtObject<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using LtLayout = LtObject<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using LtPreference = LtObject<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

template <class T>
cublasStatus_t set(LtDescriptor& d, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  return cublasLtMatmulDescSetAttribute(d.handle, attribute, &value, sizeof(value));
}
template <class T>
cublasStatus_t set(LtLayout& l, cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
  return cublasLtMatrixLayoutSetAttribute(l.handle, attribute, &value, sizeof(value));
}
template <class T>
cublasStatus_t set(LtPreference& p, cublasLtMatmulPreferenceAttributes_t attribute,
                   const T& value) {
  return cublasLtMatmulPreferenceSetAttribute(p.handle, attribute, &value, sizeof(value));
}

}  // namespace

struct LtPlans::Plan {
  LtDescriptor descriptor;
  LtLayout a, b, d;
  bool taken = false;
  cublasLtMatmulAlgo_t algorithm{};
};

uint32_t lt_alignment(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}

LtPlans::LtPlans(void* workspace, std::size_t workspace_bytes)
    : workspace_(workspace), workspace_bytes_(workspace_bytes) {
  creation_error_ = lt_status("cublasLtCreate", cublasLtCreate(&handle_)).error;
}

LtPlans::~LtPlans() {
  plans_.clear();
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

Status LtPlans::make(const LtShape& shape, const LtOperands& operands, Plan& plan) {
  const cublasOperation_t op_a = shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t op_b = shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const auto layout = [&](LtLayout& l, cudaDataType_t type, bool transposed, int64_t rows,
                          int64_t cols, int64_t ld) {
    if (transposed) std::swap(rows, cols);
    const cublasStatus_t made = cublasLtMatrixLayoutCreate(
        &l.handle, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), ld);
    if (made != CUBLAS_STATUS_SUCCESS || shape.batch == 1) return made;
    const int64_t stride = rows * cols;
    const cublasStatus_t counted = set(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, shape.batch);
    if (counted != CUBLAS_STATUS_SUCCESS) return counted;
    return set(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
  };
  LtPreference preference;
  // A split of K is added up in FP32, never in C's type.
  const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  cublasStatus_t s =
      cublasLtMatmulDescCreate(&plan.descriptor.handle, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  const auto then = [&s](cublasStatus_t next) {
    if (s == CUBLAS_STATUS_SUCCESS) s = next;
  };
  if (s != CUBLAS_STATUS_SUCCESS) return lt_status("cublasLtMatmulDescCreate", s);
  then(set(plan.descriptor, CUBLASLT_MATMUL_DESC_TRANSA, op_a));
  then(set(plan.descriptor, CUBLASLT_MATMUL_DESC_TRANSB, op_b));
  if (shape.a_scale_mode != LtShape::kNoScales) {
    then(set(plan.descriptor, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, shape.a_scale_mode));
    then(set(plan.descriptor, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, shape.b_scale_mode));
    then(set(plan.descriptor, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, operands.a_scales));
    then(set(plan.descriptor, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, operands.b_scales));
  }
  then(layout(plan.a, shape.operand, shape.transpose_a, shape.m, shape.k, shape.lda));
  then(layout(plan.b, shape.operand, shape.transpose_b, shape.k, shape.n, shape.ldb));
  then(layout(plan.d, shape.result, false, shape.m, shape.n, shape.ldd));
  if (s != CUBLAS_STATUS_SUCCESS) return lt_status("cublasLtMatmul's descriptors", s);
  s = cublasLtMatmulPreferenceCreate(&preference.handle);
  if (s != CUBLAS_STATUS_SUCCESS) return lt_status("cublasLtMatmulPreferenceCreate", s);
  then(set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_));
  then(set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions));
  then(set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.a_alignment));
  then(set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.b_alignment));
  then(set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.d_alignment));
  then(set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.d_alignment));
  if (s != CUBLAS_STATUS_SUCCESS) return lt_status("cublasLtMatmulPreferenceSetAttribute", s);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  s = cublasLtMatmulAlgoGetHeuristic(handle_, plan.descriptor.handle, plan.a.handle, plan.b.handle,
                                     plan.d.handle, plan.d.handle, preference.handle, 1, &found,
                                     &count);
  plan.taken = s == CUBLAS_STATUS_SUCCESS && count == 1 && found.state == CUBLAS_STATUS_SUCCESS;
  plan.algorithm = found.algo;
  // "Not supported" is an answer, not an error.
  const bool declined = s == CUBLAS_STATUS_NOT_SUPPORTED || s == CUBLAS_STATUS_INVALID_VALUE;
  return declined ? Status{} : lt_status("cublasLtMatmulAlgoGetHeuristic", s);
}

Status LtPlans::run(const char* name, const LtShape& shape, const LtOperands& operands, bool* taken,
                    cudaStream_t stream) {
  *taken = false;
  const auto error = [name](const Status& s) {
    return failed(std::string(name).append(": ").append(s.error));
  };
  if (!creation_error_.empty()) return error(failed(creation_error_));
  std::unique_ptr<Plan>& plan = plans_[shape];
  if (plan == nullptr) {
    auto made = std::make_unique<Plan>();
    if (Status s = make(shape, operands, *made); !s.ok()) return error(s);
    plan = std::move(made);
  }
  if (!plan->taken) return {};
  cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
  if (shape.a_scale_mode != LtShape::kNoScales) {
    s = set(plan->descriptor, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, operands.a_scales);
    if (s == CUBLAS_STATUS_SUCCESS)
      s = set(plan->descriptor, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, operands.b_scales);
    if (s != CUBLAS_STATUS_SUCCESS) return error(lt_status("scale pointers", s));
  }
  const float alpha = operands.alpha, beta = shape.accumulate ? 1.0F : operands.beta;
  const void* c = operands.c != nullptr ? operands.c : operands.d;
  s = cublasLtMatmul(handle_, plan->descriptor.handle, &alpha, operands.a, plan->a.handle,
                     operands.b, plan->b.handle, &beta, c, plan->d.handle, operands.d,
                     plan->d.handle, &plan->algorithm, workspace_, workspace_bytes_, stream);
  if (s == CUBLAS_STATUS_NOT_SUPPORTED) {
    plan->taken = false;
    return {};
  }
  *taken = s == CUBLAS_STATUS_SUCCESS;
  return *taken ? Status{} : error(lt_status("cublasLtMatmul", s));
}

}  // namespace orrery::kernels
