// Every tiling of the FP8 GEMM kernel, on all and on a few multiprocessors.
#include "kernels/gemm/fp8_gemm.h"

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/grouped.h"
#include "tests/gpu/gemm_check.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

TileOperand operand(const Fp8View& x) {
  TileOperand o;
  o.data = x.data, o.ld = x.cols;
  o.scales = x.scales, o.row_stride = x.row_stride, o.tile_stride = x.tile_stride;
  return o;
}

TileOperand operand(const Fp8Block& x) {
  TileOperand o;
  o.data = x.data, o.ld = x.cols;
  o.scales = x.scales, o.row_stride = tiles(x.cols), o.tile_stride = 1;
  o.group_stride = x.rows * x.cols, o.group_scales = tiles(x.rows) * tiles(x.cols);
  return o;
}

TileGemmParams gemm(int64_t m, int64_t n, int64_t k, const TileOperand& a, const TileOperand& b,
                    void* c) {
  TileGemmParams p;
  p.m = static_cast<int>(m), p.n = static_cast<int>(n), p.k = static_cast<int>(k);
  p.a = a, p.b = b, p.c = c, p.ldc = n;
  return p;
}

// Runs with each tiling on all and on few multiprocessors; each must give the same bits every time
// and pass `check`.
template <class T, int kCount, class Check>
void with_each(TileKind kind, const Fp8Tiling (&tilings)[kCount], TileGemmParams p,
               DeviceBuffer<T>& c, const std::vector<T>& before, Check check) {
  REQUIRE(fp8_gemm_takes(kind, p));
  for (const Fp8Tiling& t : tilings) {
    std::vector<T> first;
    for (const int sms : {0, 4, 0}) {
      INFO("tiling " << t.rows << "x" << t.cols << ", pair " << t.pair << ", sms " << sms);
      p.sms = sms;
      c.upload(before);
      launched(fp8_gemm("fp8_gemm", kind, p, t, nullptr));
      const std::vector<T> result = c.download();
      c.check_canaries();
      if (first.empty()) {
        first = result;
        check(to_double(first));
      }
      REQUIRE(same_bits(result, first));
    }
  }
}

struct Shape {
  int64_t m, n, k;
};
constexpr Shape kShapes[] = {{256, 384, 512},   {1, 128, 128}, {77, 144, 272}, {388, 400, 1168},
                             {300, 2064, 1040}, {16, 16, 16},  {72, 144, 4368}};

}  // namespace

TEST_CASE("every tiling of the FP8 GEMM with block scales", "[gpu][fp8_gemm]") {
  Random random;
  for (const auto [m, n, k] : kShapes) {
    INFO("seed " << random.seed << ", m " << m << ", n " << n << ", k " << k);
    QuantisedRows a(random, m, k, true);
    QuantisedBlocks b(random, 1, n, k);
    DeviceBuffer<bf16> c(size(m, n));
    ExpectedGemm expected(m, n);
    expected.add(Layout::kNT, 0, m, n, k, a.values.data(), k, b.values.data(), k, n);
    with_each(TileKind::kFp8Block, kFp8BlockTilings,
              gemm(m, n, k, operand(a.view), operand(b.view), c.get()), c,
              std::vector<bf16>(c.size()), [&](const std::vector<double>& actual) {
                expected.require_close(actual, kBf16Output, kFp8Terms);
              });
  }
}

TEST_CASE("every tiling of the FP8 GEMM of groups of rows", "[gpu][fp8_gemm]") {
  Random random;
  const std::vector<int32_t> kOffsets[] = {{0, 0, 131, 515, 515, 592}, {3, 3}, {0, 256, 300, 301}};
  for (const std::vector<int32_t>& offsets : kOffsets)
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{256, 384}, {272, 1168}, {16, 16}}) {
      const auto groups = static_cast<int64_t>(offsets.size()) - 1;
      const int64_t rows = offsets.back() + 21;
      INFO("seed " << random.seed << ", groups " << groups << ", n " << n << ", k " << k);
      QuantisedRows a(random, rows, k, true);
      QuantisedBlocks b(random, groups, n, k);
      DeviceBuffer<bf16> c(size(rows, n));
      DeviceBuffer<int32_t> d_offsets(offsets);
      TileGemmParams p = gemm(rows, n, k, operand(a.view), operand(b.view), c.get());
      p.grouping = TileGrouping::kRows;
      p.groups = static_cast<int>(groups), p.offsets = d_offsets.get();
      const std::vector<bf16> before(c.size(), bf16(3.25F));
      ExpectedGemm expected(rows, n);
      std::fill(expected.c.begin(), expected.c.end(), 3.25);
      for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
        const int64_t first = offsets[g], count = offsets[g + 1] - first;
        std::fill_n(expected.c.begin() + first * n, count * n, 0.0);
        ExpectedGemm of_group(count, n);
        of_group.add(Layout::kNT, 0, count, n, k, a.values.data() + first * k, k,
                     b.values.data() + static_cast<int64_t>(g) * n * k, k, n);
        std::copy(of_group.c.begin(), of_group.c.end(), expected.c.begin() + first * n);
        std::copy(of_group.magnitude.begin(), of_group.magnitude.end(),
                  expected.magnitude.begin() + first * n);
      }
      with_each(TileKind::kFp8Block, kFp8BlockTilings, p, c, before,
                [&](const std::vector<double>& actual) {
                  expected.require_close(actual, kBf16Output, kFp8Terms);
                });
    }
}

TEST_CASE("every tiling of the FP8 gradient of weights", "[gpu][fp8_gemm]") {
  Random random;
  for (const auto [m, n, k] : kShapes) {
    INFO("seed " << random.seed << ", m " << m << ", n " << n << ", k " << k);
    QuantisedRows a(random, m, k, true), b(random, n, k, true);
    DeviceBuffer<float> c(size(m, n));
    const std::vector<double> before = random.normal_bf16(size(m, n));
    ExpectedGemm expected(m, n);
    expected.add(Layout::kNT, 0, m, n, k, a.values.data(), k, b.values.data(), k, n);
    TileGemmParams p = gemm(m, n, k, operand(a.view), operand(b.view), c.get());
    for (const bool accumulate : {false, true}) {
      INFO("accumulate " << accumulate);
      p.accumulate = accumulate;
      if (accumulate)
        for (std::size_t i = 0; i < before.size(); ++i) expected.c[i] += before[i];
      with_each(TileKind::kFp8Tiles, kFp8WgradTilings, p, c,
                std::vector<float>(before.begin(), before.end()),
                [&](const std::vector<double>& actual) {
                  expected.require_close(actual, kFp32Output, kFp8Terms);
                });
    }
  }
}

TEST_CASE("every tiling of the FP8 gradients of a range of groups", "[gpu][fp8_gemm]") {
  Random random;
  const std::vector<int32_t> offsets{0, 0, 256, 384, 384, 1409};
  constexpr int64_t kTokens = 1440, kFirst = 1, kGroups = 4;
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{144, 264}, {16, 8}, {300, 128}}) {
    INFO("seed " << random.seed << ", m " << m << ", n " << n);
    QuantisedRows a(random, m, kTokens, true), b(random, n, kTokens, true);
    DeviceBuffer<float> c(size(kGroups * m, n));
    DeviceBuffer<int32_t> d_offsets(offsets);
    TileGemmParams p = gemm(m, n, kTokens, operand(a.view), operand(b.view), c.get());
    p.grouping = TileGrouping::kDepth;
    p.offsets = d_offsets.get(), p.group = kFirst, p.groups = kGroups;
    p.c_group_stride = m * n;
    const std::vector<double> before = random.normal_bf16(c.size());
    ExpectedGemm expected(kGroups * m, n);
    for (int64_t g = 0; g < kGroups; ++g) {
      const int64_t first = offsets[static_cast<std::size_t>(kFirst + g)];
      const int64_t depth = offsets[static_cast<std::size_t>(kFirst + g + 1)] - first;
      const auto columns = [&](const std::vector<double>& x, int64_t x_rows) {
        std::vector<double> part;
        for (int64_t r = 0; r < x_rows; ++r)
          part.insert(part.end(), x.begin() + r * kTokens + first,
                      x.begin() + r * kTokens + first + depth);
        return part;
      };
      expected.add(Layout::kNT, g * m, m, n, depth, columns(a.values, m).data(), depth,
                   columns(b.values, n).data(), depth, n);
    }
    for (const bool accumulate : {false, true}) {
      INFO("accumulate " << accumulate);
      p.accumulate = accumulate;
      // A group without tokens keeps what was there.
      for (std::size_t i = 0; i < before.size(); ++i)
        if (accumulate !=
            (offsets[kFirst + i / size(m, n)] == offsets[kFirst + i / size(m, n) + 1]))
          expected.c[i] += before[i];
      with_each(TileKind::kFp8Tiles, kFp8WgradTilings, p, c,
                std::vector<float>(before.begin(), before.end()),
                [&](const std::vector<double>& actual) {
                  expected.require_close(actual, kFp32Output, kFp8Terms);
                });
    }
  }
}
