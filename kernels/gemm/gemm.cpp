#include "kernels/gemm/gemm.h"

#include "kernels/gemm/fp8_gemm.h"
#include "kernels/gemm/lt_plans.h"
#include "kernels/gemm/tile_gemm.h"
#include "kernels/quant/arguments.h"

namespace orrery::kernels {
namespace {

// Of cuBLASLt's FP8 kernels: dimensions and pointers of 16 elements and bytes.
constexpr int64_t kLtFp8Multiple = 16;

// Where the project's own kernel is faster: measured on an H200 with 4096 rows and more of any K,
// and with few steps of K (NOTES.md).
bool own_is_faster(const GemmFp8Params& p) { return p.m >= 4096 || p.k <= 1024; }

// cuBLASLt cannot be kept to some multiprocessors.
bool wants_cublaslt(const GemmContext& context, bool faster, int sms) {
  if (context.fp8_gemms == Fp8Gemms::kFastest) return faster && sms == 0;
  return context.fp8_gemms == Fp8Gemms::kCublasLt && sms == 0;
}

// Whether the scales lie as CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F wants them: tile by tile, each
// with a scale per row, without gaps.
bool tile_major(const Fp8View& x) {
  return x.row_stride == 1 && x.tile_stride == x.rows && x.rows % kLtFp8Multiple == 0 &&
         aligned(x.scales);
}

// The same of CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F, whose rows of blocks are padded to 4.
bool unpadded_blocks(const Fp8Block& x) {
  return tiles(x.cols) % 4 == 0 && x.rows % kLtFp8Multiple == 0 && aligned(x.scales);
}

// Row-major C = A·Bᵀ is column-major Cᵀ = B·Aᵀ, which makes B cuBLASLt's first operand.
LtShape nt_shape(const void* a, int64_t lda, const void* b, int64_t ldb, const void* c, int64_t ldc,
                 int64_t m, int64_t n, int64_t k) {
  LtShape s;
  s.transpose_a = true;
  s.m = n, s.n = m, s.k = k;
  s.lda = ldb, s.ldb = lda, s.ldd = ldc;
  s.a_alignment = lt_alignment(b), s.b_alignment = lt_alignment(a), s.d_alignment = lt_alignment(c);
  return s;
}

Status gemm_fp8_lt(GemmContext& context, const char* name, const LtShape& shape,
                   const LtOperands& operands, bool* taken, cudaStream_t stream) {
  Status s = context.plans().run(name, shape, operands, taken, stream);
  if (*taken) ++context.fp8_cublaslt_launches;
  return s;
}

TileGemmParams tile_params(int64_t m, int64_t n, int64_t k, const Fp8View& a, void* c) {
  TileGemmParams p;
  p.m = static_cast<int>(m), p.n = static_cast<int>(n), p.k = static_cast<int>(k);
  p.a.data = a.data, p.a.ld = k;
  p.a.scales = a.scales, p.a.row_stride = a.row_stride, p.a.tile_stride = a.tile_stride;
  p.c = c, p.ldc = n;
  return p;
}

Status check_fp8_view(const char* kernel, const char* name, const Fp8View& x, int64_t rows,
                      int64_t cols, bool used) {
  const auto member = [name](const char* of) { return std::string(name).append(of); };
  return check(kernel, {equal(member(".rows").c_str(), x.rows, rows),
                        equal(member(".cols").c_str(), x.cols, cols),
                        vector_pointer(member(".data").c_str(), x.data, used),
                        pointer(member(".scales").c_str(), x.scales, used)});
}

// What a product of no K is. ldc, n: elements of `bytes` each.
Status zero_matrix(const char* name, void* c, int64_t m, int64_t n, int64_t ldc, std::size_t bytes,
                   cudaStream_t stream) {
  const cudaError_t e =
      cudaMemset2DAsync(c, static_cast<std::size_t>(ldc) * bytes, 0,
                        static_cast<std::size_t>(n) * bytes, static_cast<std::size_t>(m), stream);
  return e == cudaSuccess ? Status{}
                          : failed(std::string(name).append(": ").append(cudaGetErrorString(e)));
}

}  // namespace

GemmContext::GemmContext(void* workspace, std::size_t workspace_bytes)
    : plans_(std::make_unique<LtPlans>(workspace, workspace_bytes)) {}
GemmContext::~GemmContext() = default;

Status gemm_bf16(GemmContext& context, const GemmBf16Params& p, cudaStream_t stream) {
  constexpr const char* kName = "gemm_bf16";
  const bool a_strided = p.layout == Layout::kTN, b_strided = p.layout != Layout::kNT;
  const bool fp32 = p.c_type == GemmOutput::kFp32;
  const bool writes = p.m > 0 && p.n > 0, reads = writes && p.k > 0;
  if (Status s = check(kName, {at_least("m", p.m, 0), at_least("n", p.n, 0), at_least("k", p.k, 0),
                               multiple_of(a_strided ? "m" : "k", a_strided ? p.m : p.k, 8),
                               multiple_of(b_strided ? "n" : "k", b_strided ? p.n : p.k, 8),
                               multiple_of("lda", p.lda, 8), multiple_of("ldb", p.ldb, 8),
                               multiple_of("ldc", p.ldc, fp32 ? 4 : 8),
                               at_least("lda", p.lda, a_strided ? p.m : p.k),
                               at_least("ldb", p.ldb, b_strided ? p.n : p.k),
                               at_least("ldc", p.ldc, p.n), vector_pointer("a", p.a, reads),
                               vector_pointer("b", p.b, reads), vector_pointer("c", p.c, writes)});
      !s.ok() || !writes)
    return s;
  if (p.k == 0 && p.accumulate) return {};
  if (p.k == 0)
    return zero_matrix(kName, p.c, p.m, p.n, p.ldc, fp32 ? sizeof(float) : sizeof(bf16), stream);
  LtShape shape = nt_shape(p.a, p.lda, p.b, p.ldb, p.c, p.ldc, p.m, p.n, p.k);
  shape.transpose_a = !b_strided;
  shape.transpose_b = a_strided;
  shape.result = fp32 ? CUDA_R_32F : CUDA_R_16BF;
  shape.accumulate = p.accumulate;
  bool taken = false;
  Status s = context.plans().run(kName, shape, {p.b, p.a, p.c, nullptr, nullptr}, &taken, stream);
  if (s.ok() && !taken) return failed("gemm_bf16: cuBLASLt has no algorithm for this shape");
  return s;
}

Status gemm_fp8(GemmContext& context, const GemmFp8Params& p, cudaStream_t stream) {
  constexpr const char* kName = "gemm_fp8";
  const bool used = p.m > 0 && p.n > 0;
  if (Status s = check(
          kName, {at_least("m", p.m, 0), at_most("m", p.m, INT32_MAX), multiple_of("n", p.n, 16),
                  multiple_of("k", p.k, 16), at_least("k", p.k, 16), equal("b.rows", p.b.rows, p.n),
                  equal("b.cols", p.b.cols, p.k), vector_pointer("b.data", p.b.data, used),
                  pointer("b.scales", p.b.scales, used), vector_pointer("c", p.c, used)});
      !s.ok())
    return s;
  if (Status s = check_fp8_view(kName, "a", p.a, p.m, p.k, used); !s.ok() || !used) return s;
  if (wants_cublaslt(context, !own_is_faster(p), p.sms) && tile_major(p.a) &&
      unpadded_blocks(p.b)) {
    LtShape shape = nt_shape(p.a.data, p.k, p.b.data, p.k, p.c, p.n, p.m, p.n, p.k);
    shape.operand = CUDA_R_8F_E4M3;
    shape.a_scale_mode = CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F;
    shape.b_scale_mode = CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
    bool taken = false;
    Status s = gemm_fp8_lt(context, kName, shape, {p.b.data, p.a.data, p.c, p.b.scales, p.a.scales},
                           &taken, stream);
    if (!s.ok() || taken) return s;
  }
  TileGemmParams t = tile_params(p.m, p.n, p.k, p.a, p.c);
  t.b.data = p.b.data, t.b.ld = p.k;
  t.b.scales = p.b.scales, t.b.row_stride = tiles(p.k), t.b.tile_stride = 1;
  t.sms = p.sms;
  ++context.fp8_own_launches;
  return any_fp8_gemm(kName, TileKind::kFp8Block, t, stream);
}

Status gemm_fp8_wgrad(GemmContext& context, const GemmFp8WgradParams& p, cudaStream_t stream) {
  constexpr const char* kName = "gemm_fp8_wgrad";
  const bool reads = p.m > 0 && p.n > 0 && p.k > 0;
  const bool used = p.m > 0 && p.n > 0 && (p.k > 0 || !p.accumulate);
  if (Status s = check(
          kName, {at_least("m", p.m, 0), at_most("m", p.m, INT32_MAX), multiple_of("n", p.n, 8),
                  multiple_of("k", p.k, 16), vector_pointer("c", p.c, used)});
      !s.ok())
    return s;
  if (Status s = check_fp8_view(kName, "a", p.a, p.m, p.k, reads); !s.ok()) return s;
  if (Status s = check_fp8_view(kName, "b", p.b, p.n, p.k, reads); !s.ok() || !used) return s;
  if (p.k == 0) return zero_matrix(kName, p.c, p.m, p.n, p.n, sizeof(float), stream);
  int sms = 0;
  if (Status s = multiprocessors(kName, p.sms, &sms); !s.ok()) return s;
  const bool lt_is_faster = !fp8_wgrad_beats_cublaslt(p.m, p.n, sms);
  if (wants_cublaslt(context, lt_is_faster, p.sms) && tile_major(p.a) && tile_major(p.b)) {
    LtShape shape = nt_shape(p.a.data, p.k, p.b.data, p.k, p.c, p.n, p.m, p.n, p.k);
    shape.operand = CUDA_R_8F_E4M3, shape.result = CUDA_R_32F;
    shape.accumulate = p.accumulate;
    shape.a_scale_mode = shape.b_scale_mode = CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
    bool taken = false;
    Status s = gemm_fp8_lt(context, kName, shape, {p.b.data, p.a.data, p.c, p.b.scales, p.a.scales},
                           &taken, stream);
    if (!s.ok() || taken) return s;
  }
  TileGemmParams t = tile_params(p.m, p.n, p.k, p.a, p.c);
  t.b.data = p.b.data, t.b.ld = p.k;
  t.b.scales = p.b.scales, t.b.row_stride = p.b.row_stride, t.b.tile_stride = p.b.tile_stride;
  t.sms = p.sms, t.accumulate = p.accumulate;
  ++context.fp8_own_launches;
  return any_fp8_gemm(kName, TileKind::kFp8Tiles, t, stream);
}

}  // namespace orrery::kernels
