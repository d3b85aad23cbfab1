#include "kernels/gemm/gemm_reference.h"

#include "tests/catch.h"

using namespace orrery::kernels;

namespace {

constexpr int64_t kM = 5, kN = 7, kK = 19;
constexpr double kOutside = 1e6;  // between the rows

std::size_t index(int64_t i) { return static_cast<std::size_t>(i); }

// [rows, cols] of small integers, with `ld` elements a row.
template <class T>
std::vector<T> integers(int64_t rows, int64_t cols, int64_t ld, int64_t seed) {
  std::vector<T> v(index(rows * ld), static_cast<T>(kOutside));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      v[index(r * ld + c)] = static_cast<T>((r * 31 + c * 17 + r * c * seed) % 13 - 6);
  return v;
}

// Sums of products of integers are exact, in any order.
template <class T>
void check_layout(Layout layout, bool accumulate) {
  const bool a_strided = layout == Layout::kTN, b_strided = layout != Layout::kNT;
  const int64_t lda = (a_strided ? kM : kK) + 3, ldb = (b_strided ? kN : kK) + 2, ldc = kN + 4;
  const std::vector<T> a = a_strided ? integers<T>(kK, kM, lda, 3) : integers<T>(kM, kK, lda, 3);
  const std::vector<T> b = b_strided ? integers<T>(kK, kN, ldb, 5) : integers<T>(kN, kK, ldb, 5);
  const std::vector<T> before = integers<T>(kM, kN, ldc, 7);
  std::vector<T> c = before;
  gemm_reference(layout, kM, kN, kK, a.data(), lda, b.data(), ldb, c.data(), ldc, accumulate);
  for (int64_t i = 0; i < kM; ++i) {
    for (int64_t j = 0; j < kN; ++j) {
      double sum = accumulate ? static_cast<double>(before[index(i * ldc + j)]) : 0;
      for (int64_t l = 0; l < kK; ++l)
        sum += static_cast<double>(a[index(a_strided ? l * lda + i : i * lda + l)]) *
               static_cast<double>(b[index(b_strided ? l * ldb + j : j * ldb + l)]);
      CHECK(static_cast<double>(c[index(i * ldc + j)]) == sum);
    }
    for (int64_t j = kN; j < ldc; ++j)
      CHECK(static_cast<double>(c[index(i * ldc + j)]) == kOutside);
  }
}

}  // namespace

TEST_CASE("gemm_reference multiplies in every layout", "[kernels][gemm]") {
  for (const Layout layout : {Layout::kNT, Layout::kNN, Layout::kTN})
    for (const bool accumulate : {false, true}) {
      check_layout<double>(layout, accumulate);
      check_layout<float>(layout, accumulate);
    }
}

TEST_CASE("gemm_reference sums in double", "[kernels][gemm]") {
  // In floats, 1 is lost beside 2^30.
  for (const Layout layout : {Layout::kNT, Layout::kNN, Layout::kTN}) {
    const std::vector<float> a{0x1p30F, 1, -0x1p30F}, b{1, 1, 1};
    float c = 7;
    gemm_reference<float>(layout, 1, 1, 3, a.data(), layout == Layout::kTN ? 1 : 3, b.data(),
                          layout == Layout::kNT ? 3 : 1, &c, 1, false);
    CHECK(static_cast<double>(c) == 1);
  }
}

TEST_CASE("gemm_reference of no K clears C or keeps it", "[kernels][gemm]") {
  std::vector<double> c{1, 2};
  gemm_reference<double>(Layout::kNN, 1, 2, 0, nullptr, 0, nullptr, 2, c.data(), 2, true);
  CHECK(c == std::vector<double>{1, 2});
  gemm_reference<double>(Layout::kNT, 1, 2, 0, nullptr, 0, nullptr, 0, c.data(), 2, false);
  CHECK(c == std::vector<double>{0, 0});
}
