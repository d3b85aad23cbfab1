// GEMM on the CPU. Plain C++: the GPU tests compare with it, and the CPU backend runs it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/gemm/layout.h"

namespace orrery::kernels {

// Σ_k a[k]·b[k] in double, in eight interleaved partial sums that the compiler can vectorise.
template <class T>
double dot_reference(int64_t k, const T* a, const T* b) {
  constexpr int kLanes = 8;
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes)
    for (int j = 0; j < kLanes; ++j)
      lane[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
  double sum = 0;
  for (; i < k; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  for (const double x : lane) sum += x;
  return sum;
}

// C[m, n] = A·B, or C += A·B with `accumulate`; see Layout. lda, ldb, ldc: elements from one row
// of the operand as stored to the next. Every element is summed in double and rounded to T once.
template <class T>
void gemm_reference(Layout layout, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda,
                    const T* b, int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  std::vector<double> row(static_cast<std::size_t>(n));
  for (int64_t i = 0; i < m; ++i) {
    double* sum = row.data();
    for (int64_t j = 0; j < n; ++j) sum[j] = accumulate ? static_cast<double>(c[i * ldc + j]) : 0;
    if (layout == Layout::kNT) {
      for (int64_t j = 0; j < n; ++j) sum[j] += dot_reference(k, a + i * lda, b + j * ldb);
    } else {
      for (int64_t l = 0; l < k; ++l) {
        const double x =
            static_cast<double>(layout == Layout::kNN ? a[i * lda + l] : a[l * lda + i]);
        for (int64_t j = 0; j < n; ++j) sum[j] += x * static_cast<double>(b[l * ldb + j]);
      }
    }
    for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = static_cast<T>(sum[j]);
  }
}

}  // namespace orrery::kernels
