// TFLOPS of the GEMMs on shapes of DeepSeek-V3: dense projections, and the experts of one rank.
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/grouped.h"
#include "kernels/quant/bench.cuh"

using namespace orrery::kernels;
using namespace orrery::kernels::bench;

namespace {

template <class Launch>
void report(const char* what, int64_t m, int64_t n, int64_t k, Launch launch) {
  const double s = seconds(launch);
  std::printf("%-34s m %6ld n %6ld k %6ld %9.1f us %7.0f TFLOPS\n", what, m, n, k, s * 1e6,
              2e-12 * static_cast<double>(m * n) * static_cast<double>(k) / s);
}

struct Fp8Operand {
  Buffer<fp8> data;
  Buffer<float> scales;
  int64_t rows, cols;
  Fp8Operand(int64_t r, int64_t c) : data(r * c), scales(r * tiles(c)), rows(r), cols(c) {}
  Fp8View view() const { return {data.get(), scales.get(), rows, cols, 1, rows}; }
  Fp8Block block(int64_t matrix_rows) const {
    return {data.get(), scales.get(), matrix_rows, cols};
  }
};

void dense(GemmContext& context, int64_t m, int64_t n, int64_t k) {
  Buffer<float> c(m * n);
  {
    Buffer<bf16> a(m * k), b(n * k);
    GemmBf16Params p;
    p.m = m, p.n = n, p.k = k, p.a = a.get(), p.lda = k, p.b = b.get(), p.ldb = k, p.c = c.get();
    p.ldc = n;
    report("gemm_bf16 NT", m, n, k, [&] { return gemm_bf16(context, p, nullptr); });
    p.layout = Layout::kTN, p.lda = m, p.ldb = n, p.c_type = GemmOutput::kFp32, p.accumulate = true;
    report("gemm_bf16 TN += FP32", m, n, k, [&] { return gemm_bf16(context, p, nullptr); });
  }
  const Fp8Operand a(m, k), b(n, k);
  const GemmFp8Params forward{m, n, k, a.view(), b.block(n), reinterpret_cast<bf16*>(c.get())};
  const GemmFp8WgradParams wgrad{m, n, k, a.view(), b.view(), c.get()};
  for (const bool cublaslt : {true, false}) {
    context.fp8_by_cublaslt = cublaslt;
    const int64_t before = context.fp8_cublaslt_launches;
    const char* by = cublaslt ? "cuBLASLt allowed" : "own kernel";
    std::printf("%s:\n", by);
    report("gemm_fp8", m, n, k, [&] { return gemm_fp8(context, forward, nullptr); });
    report("gemm_fp8_wgrad", m, n, k, [&] { return gemm_fp8_wgrad(context, wgrad, nullptr); });
    if (cublaslt && context.fp8_cublaslt_launches == before) std::printf("(cuBLASLt declined)\n");
  }
}

void experts(int64_t groups, int64_t rows_each, int64_t n, int64_t k) {
  const int64_t rows = groups * rows_each;
  std::vector<int32_t> offsets;
  for (int64_t g = 0; g <= groups; ++g) offsets.push_back(static_cast<int32_t>(g * rows_each));
  Buffer<int32_t> d_offsets(groups + 1);
  need(cudaMemcpy(d_offsets.get(), offsets.data(), offsets.size() * sizeof(int32_t),
                  cudaMemcpyHostToDevice));
  Buffer<bf16> c(rows * n);
  {
    Buffer<bf16> a(rows * k), b(groups * n * k);
    for (const Layout layout : {Layout::kNT, Layout::kNN}) {
      const GroupedGemmBf16Params p{layout,          groups,  rows,    n,      k,
                                    d_offsets.get(), a.get(), b.get(), c.get()};
      report(layout == Layout::kNT ? "grouped_gemm_bf16 NT" : "grouped_gemm_bf16 NN", rows, n, k,
             [&] { return grouped_gemm_bf16(p, nullptr); });
    }
    Buffer<float> grad(n * k);
    const GroupWgradBf16Params w{0, d_offsets.get(), n, k, c.get(), a.get(), grad.get()};
    report("group_wgrad_bf16", n, k, rows_each, [&] { return group_wgrad_bf16(w, nullptr); });
  }
  const Fp8Operand a(rows, k), b(groups * n, k), at(k, rows), ct(n, rows);
  const GroupedGemmFp8Params p{groups, rows, n, k, d_offsets.get(), a.view(), b.block(n), c.get()};
  report("grouped_gemm_fp8", rows, n, k, [&] { return grouped_gemm_fp8(p, nullptr); });
  Buffer<float> grad(n * k);
  const GroupWgradFp8Params w{0, d_offsets.get(), n, k, ct.view(), at.view(), grad.get()};
  report("group_wgrad_fp8", n, k, rows_each, [&] { return group_wgrad_fp8(w, nullptr); });
}

}  // namespace

int main() {
  constexpr std::size_t kWorkspace = std::size_t{32} << 20;
  Buffer<uint8_t> workspace(kWorkspace);
  GemmContext context(workspace.get(), kWorkspace);
  dense(context, 8192, 7168, 2048);
  dense(context, 8192, 4096, 7168);
  experts(8, 4096, 4096, 7168);
  experts(8, 4096, 7168, 2048);
  need(cudaDeviceSynchronize());
}
