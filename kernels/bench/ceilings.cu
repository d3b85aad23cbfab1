#include <cublasLt.h>

#include <string>

#include "kernels/bench/bench.h"
#include "kernels/bench/measure.cuh"
#include "kernels/gemm/lt_plans.h"

namespace orrery::kernels::bench {
namespace {

// TFLOPS of C = A·Bᵀ at n³ by cuBLASLt; 0 if it has no algorithm.
template <class T>
double square_gemm(int64_t n, cudaDataType_t operand) {
  constexpr int64_t kWorkspace = int64_t{32} << 20;
  const Buffer<uint8_t> workspace(kWorkspace);
  const Buffer<T> a(n * n, 1), b(n * n, 2);
  const Buffer<bf16> c(n * n);
  LtPlans plans(workspace.get(), kWorkspace);
  LtShape s;
  s.transpose_a = true;
  s.m = s.n = s.k = s.lda = s.ldb = s.ldd = n;
  s.operand = operand;
  s.a_alignment = s.b_alignment = s.d_alignment = 256;
  bool taken = false;
  const auto run = [&](int) {
    return plans.run("gemm", s, {a.get(), b.get(), c.get(), nullptr, nullptr}, &taken, nullptr);
  };
  const double t = seconds(run);
  return taken ? 2e-12 * static_cast<double>(n * n) * static_cast<double>(n) / t : 0;
}

std::string version(int v, int major, int minor) {
  return std::to_string(v / major) + "." + std::to_string(v % major / minor);
}

}  // namespace

Ceilings measure_ceilings() {
  Ceilings c;
  {
    constexpr int64_t kBytes = int64_t{4} << 30;
    const Buffer<uint8_t> from(kBytes), to(kBytes);
    const double t = seconds([&](int) {
      need(cudaMemcpyAsync(to.get(), from.get(), kBytes, cudaMemcpyDeviceToDevice, nullptr));
      return Status{};
    });
    c.copy_GBps = 2e-9 * static_cast<double>(kBytes) / t;
  }
  c.bf16_TFLOPS = square_gemm<bf16>(8192, CUDA_R_16BF);
  c.fp8_TFLOPS = square_gemm<fp8>(8192, CUDA_R_8F_E4M3);
  return c;
}

Machine machine() {
  Machine m;
  int device = 0, driver = 0, runtime = 0;
  cudaDeviceProp properties{};
  need(cudaGetDevice(&device));
  need(cudaGetDeviceProperties(&properties, device));
  need(cudaDriverGetVersion(&driver));
  need(cudaRuntimeGetVersion(&runtime));
  m.gpu = properties.name;
  m.multiprocessors = properties.multiProcessorCount;
  m.memory_GiB = static_cast<double>(properties.totalGlobalMem) / (1 << 30);
  int sm_kHz = 0, memory_kHz = 0;
  need(cudaDeviceGetAttribute(&sm_kHz, cudaDevAttrClockRate, device));
  need(cudaDeviceGetAttribute(&memory_kHz, cudaDevAttrMemoryClockRate, device));
  m.sm_clock_MHz = sm_kHz / 1000, m.memory_clock_MHz = memory_kHz / 1000;
  m.driver = version(driver, 1000, 10);
  m.cuda = version(runtime, 1000, 10);
  m.cublaslt = std::to_string(cublasLtGetVersion());
  return m;
}

}  // namespace orrery::kernels::bench
