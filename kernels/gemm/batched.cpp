#include "kernels/gemm/batched.h"

#include "kernels/gemm/lt_plans.h"
#include "kernels/quant/arguments.h"

namespace orrery::kernels {

Status batched_gemm_bf16(GemmContext& context, const BatchedGemmParams& p, cudaStream_t stream) {
  constexpr const char* kName = "batched_gemm_bf16";
  const bool a_strided = p.layout == Layout::kTN, b_strided = p.layout != Layout::kNT;
  const bool used = p.batch > 0 && p.m > 0 && p.n > 0;
  if (Status s = check(
          kName, {at_least("batch", p.batch, 0), at_most("batch", p.batch, INT32_MAX),
                  at_least("m", p.m, 0), at_least("k", p.k, 1), multiple_of("n", p.n, 8),
                  multiple_of(a_strided ? "m" : "k", a_strided ? p.m : p.k, 8),
                  multiple_of(b_strided ? "n" : "k", b_strided ? p.n : p.k, 8),
                  vector_pointer("a", p.a, used), vector_pointer("b", p.b, used),
                  vector_pointer("c", p.c, used && p.beta != 0), vector_pointer("d", p.d, used)});
      !s.ok() || !used)
    return s;
  // Row-major D = A·B is column-major Dᵀ = Bᵀ·Aᵀ, which makes B cuBLASLt's first operand.
  LtShape shape;
  shape.transpose_a = !b_strided;
  shape.transpose_b = a_strided;
  shape.m = p.n, shape.n = p.m, shape.k = p.k;
  shape.lda = b_strided ? p.n : p.k;
  shape.ldb = a_strided ? p.m : p.k;
  shape.ldd = p.n;
  shape.batch = static_cast<int32_t>(p.batch);
  const bf16* c = p.beta == 0 ? p.d : p.c;
  shape.a_alignment = lt_alignment(p.b), shape.b_alignment = lt_alignment(p.a);
  shape.d_alignment = std::min(lt_alignment(p.d), lt_alignment(c));
  LtOperands operands;
  operands.a = p.b, operands.b = p.a, operands.c = c, operands.d = p.d;
  operands.alpha = p.alpha, operands.beta = p.beta;
  bool taken = false;
  Status s = context.plans().run(kName, shape, operands, &taken, stream);
  if (s.ok() && !taken)
    return failed("batched_gemm_bf16: cuBLASLt has no algorithm for this shape");
  return s;
}

}  // namespace orrery::kernels
