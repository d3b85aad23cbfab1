#include "kernels/gemm/grouped.h"

#include <cmath>
#include <numeric>

#include "tests/gpu/gemm_check.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

using Groups = std::vector<int32_t>;  // rows of each

std::vector<int32_t> offsets_of(const Groups& groups) {
  std::vector<int32_t> offsets{0};
  for (const int32_t rows : groups) offsets.push_back(offsets.back() + rows);
  return offsets;
}

// More groups than a warp has lanes, most of them small.
Groups many_groups() {
  Groups groups;
  for (int g = 0; g < 70; ++g) groups.push_back(g % 3 == 0 ? 0 : g % 7);
  groups[40] = 200;
  return groups;
}

const Groups kGroups[] = {{128}, {0, 128, 384, 0, 77}, {5, 0, 130, 1}, {0, 0}, many_groups()};
constexpr int64_t kRowsAfter = 32;  // of A and C, that are no group's

// The product of each group's rows with its own matrix of b; the other rows keep `untouched`.
ExpectedGemm expected_rows(Layout layout, const std::vector<int32_t>& offsets, int64_t max_rows,
                           int64_t n, int64_t k, const std::vector<double>& a,
                           const std::vector<double>& b, double untouched) {
  ExpectedGemm expected(max_rows, n);
  for (std::size_t g = 0; g + 1 < offsets.size(); ++g)
    expected.add(layout, offsets[g], offsets[g + 1] - offsets[g], n, k, a.data() + offsets[g] * k,
                 k, b.data() + static_cast<int64_t>(g) * n * k, layout == Layout::kNT ? k : n, n);
  for (std::size_t i = size(offsets.back(), n); i < expected.c.size(); ++i)
    expected.c[i] = untouched;
  return expected;
}

// Runs twice, checks that the results are the same, and returns them.
template <class T, class Launch>
std::vector<double> run_twice(DeviceBuffer<T>& c, const std::vector<T>& before, Launch launch) {
  c.upload(before);
  launched(launch());
  const std::vector<T> first = c.download();
  c.check_canaries();
  c.upload(before);
  launched(launch());
  REQUIRE(same_bits(c.download(), first));
  return to_double(first);
}

constexpr float kUntouched = 3.25F;

}  // namespace

TEST_CASE("grouped_gemm_bf16 multiplies each group by its matrix", "[gpu][grouped]") {
  Random random;
  for (const Layout layout : {Layout::kNT, Layout::kNN})
    for (const Groups& groups : kGroups)
      for (const auto& [n, k] :
           {std::pair<int64_t, int64_t>{256, 64}, {136, 200}, {520, 328}, {8, 8}}) {
        const std::vector<int32_t> offsets = offsets_of(groups);
        const int64_t count = static_cast<int64_t>(groups.size());
        const int64_t max_rows = offsets.back() + kRowsAfter;
        INFO("seed " << random.seed << ", layout " << static_cast<int>(layout) << ", groups "
                     << count << ", rows " << offsets.back() << ", n " << n << ", k " << k);
        const std::vector<double> a = random.normal_bf16(size(max_rows, k));
        const std::vector<double> b = random.normal_bf16(size(count, n * k));
        DeviceBuffer<bf16> da(to_bf16(a)), db(to_bf16(b)), dc(size(max_rows, n));
        DeviceBuffer<int32_t> d_offsets(offsets);
        const GroupedGemmBf16Params p{layout,          count,    max_rows, n,       k,
                                      d_offsets.get(), da.get(), db.get(), dc.get()};
        const std::vector<bf16> before(dc.size(), bf16(kUntouched));
        const std::vector<double> actual =
            run_twice(dc, before, [&] { return grouped_gemm_bf16(p, nullptr); });
        expected_rows(layout, offsets, max_rows, n, k, a, b, kUntouched)
            .require_close(actual, kBf16Output, kBf16Terms);
      }
}

TEST_CASE("grouped_gemm_fp8 multiplies each group by its matrix", "[gpu][grouped]") {
  Random random;
  for (const bool tile_major : {false, true})
    for (const Groups& groups : kGroups)
      for (const auto& [n, k] :
           {std::pair<int64_t, int64_t>{128, 128}, {272, 400}, {528, 1152}, {16, 16}}) {
        const std::vector<int32_t> offsets = offsets_of(groups);
        const int64_t count = static_cast<int64_t>(groups.size());
        const int64_t max_rows = offsets.back() + kRowsAfter;
        INFO("seed " << random.seed << ", groups " << count << ", rows " << offsets.back() << ", n "
                     << n << ", k " << k << ", scales tile by tile " << tile_major);
        QuantisedRows a(random, max_rows, k, tile_major);
        QuantisedBlocks b(random, count, n, k);
        DeviceBuffer<bf16> dc(size(max_rows, n));
        DeviceBuffer<int32_t> d_offsets(offsets);
        const GroupedGemmFp8Params p{count,           max_rows, n,      k,
                                     d_offsets.get(), a.view,   b.view, dc.get()};
        const std::vector<bf16> before(dc.size(), bf16(kUntouched));
        const std::vector<double> actual =
            run_twice(dc, before, [&] { return grouped_gemm_fp8(p, nullptr); });
        expected_rows(Layout::kNT, offsets, max_rows, n, k, a.values, b.values, kUntouched)
            .require_close(actual, kBf16Output, kFp8Terms);
      }
}

TEST_CASE("group_wgrad_bf16 adds the product over each group's rows", "[gpu][grouped]") {
  Random random;
  for (const Groups& groups : kGroups)
    for (const auto& [m, n] :
         {std::pair<int64_t, int64_t>{128, 256}, {72, 264}, {8, 8}, {328, 520}}) {
      const std::vector<int32_t> offsets = offsets_of(groups);
      const int64_t rows = offsets.back() + kRowsAfter;
      std::vector<double> a = random.normal_bf16(size(rows, m));
      const std::vector<double> b = random.normal_bf16(size(rows, n));
      // What is not a number after the last group must not reach a product.
      std::fill(a.begin() + offsets.back() * m, a.end(), std::nan(""));
      DeviceBuffer<bf16> da(to_bf16(a)), db(to_bf16(b));
      DeviceBuffer<int32_t> d_offsets(offsets);
      const int64_t count = std::min<int64_t>(static_cast<int64_t>(groups.size()), 5);
      const std::vector<double> before = random.normal_bf16(size(count * m, n));
      // All groups at once, and the last one by itself.
      for (const int64_t first : {int64_t{0}, count - 1}) {
        INFO("seed " << random.seed << ", groups from " << first << " of " << count << ", m " << m
                     << ", n " << n);
        DeviceBuffer<float> dc(size((count - first) * m, n));
        const std::vector<double> at_first(before.begin() + first * m * n, before.end());
        const GroupWgradBf16Params p{.group = first,
                                     .offsets = d_offsets.get(),
                                     .rows = rows,
                                     .m = m,
                                     .n = n,
                                     .a = da.get(),
                                     .b = db.get(),
                                     .c = dc.get(),
                                     .groups = count - first};
        const std::vector<double> actual =
            run_twice(dc, std::vector<float>(at_first.begin(), at_first.end()),
                      [&] { return group_wgrad_bf16(p, nullptr); });
        ExpectedGemm expected((count - first) * m, n);
        for (int64_t g = first; g < count; ++g)
          expected.add(Layout::kTN, (g - first) * m, m, n, groups[static_cast<std::size_t>(g)],
                       a.data() + offsets[static_cast<std::size_t>(g)] * m, m,
                       b.data() + offsets[static_cast<std::size_t>(g)] * n, n, n);
        GroupWgradBf16Params written = p;
        written.accumulate = false;
        expected.require_close(run_twice(dc, std::vector<float>(at_first.begin(), at_first.end()),
                                         [&] { return group_wgrad_bf16(written, nullptr); }),
                               kFp32Output, kBf16Terms);
        for (std::size_t i = 0; i < at_first.size(); ++i) expected.c[i] += at_first[i];
        expected.require_close(actual, kFp32Output, kBf16Terms);
      }
    }
}

// The columns [begin, end) of x[rows, cols].
std::vector<double> columns(const std::vector<double>& x, int64_t rows, int64_t cols, int64_t begin,
                            int64_t end) {
  std::vector<double> part;
  for (int64_t r = 0; r < rows; ++r)
    part.insert(part.end(), x.begin() + r * cols + begin, x.begin() + r * cols + end);
  return part;
}

TEST_CASE("group_wgrad_fp8 adds or writes the product over each group's tokens", "[gpu][grouped]") {
  Random random;
  const Groups kAligned[] = {{128}, {0, 128, 384, 0, 77}, {256, 0, 5}, {0}};
  for (const bool tile_major : {false, true})
    for (const Groups& groups : kAligned)
      for (const auto& [m, n] :
           {std::pair<int64_t, int64_t>{128, 128}, {72, 264}, {16, 8}, {272, 400}}) {
        const std::vector<int32_t> offsets = offsets_of(groups);
        // Tokens after the last group's, whose values are not zeros.
        const int64_t rows = (offsets.back() + kRowsAfter) / 16 * 16;
        QuantisedRows a(random, m, rows, tile_major), b(random, n, rows, tile_major);
        DeviceBuffer<int32_t> d_offsets(offsets);
        const auto count = static_cast<int64_t>(groups.size());
        // All groups at once, and the last one by itself.
        for (const int64_t first : {int64_t{0}, count - 1}) {
          INFO("seed " << random.seed << ", groups from " << first << " of " << count << ", m " << m
                       << ", n " << n << ", scales tile by tile " << tile_major);
          DeviceBuffer<float> dc(size((count - first) * m, n));
          const std::vector<double> before = random.normal_bf16(dc.size());
          GroupWgradFp8Params p{first, d_offsets.get(), m, n, a.view, b.view, dc.get()};
          p.groups = count - first;
          ExpectedGemm expected((count - first) * m, n);
          for (int64_t g = first; g < count; ++g) {
            const int64_t begin = offsets[static_cast<std::size_t>(g)];
            const int64_t end = offsets[static_cast<std::size_t>(g) + 1], k = end - begin;
            expected.add(Layout::kNT, (g - first) * m, m, n, k,
                         columns(a.values, m, rows, begin, end).data(), k,
                         columns(b.values, n, rows, begin, end).data(), k, n);
          }
          for (const bool accumulate : {false, true}) {
            INFO("accumulate " << accumulate);
            p.accumulate = accumulate;
            if (accumulate)
              for (std::size_t i = 0; i < before.size(); ++i) expected.c[i] += before[i];
            expected.require_close(run_twice(dc, std::vector<float>(before.begin(), before.end()),
                                             [&] { return group_wgrad_fp8(p, nullptr); }),
                                   kFp32Output, kFp8Terms);
          }
        }
      }
}

TEST_CASE("grouped GEMMs name the argument that is wrong", "[gpu][grouped]") {
  DeviceBuffer<bf16> x(4096);
  DeviceBuffer<float> c(4096);
  DeviceBuffer<int32_t> offsets(std::vector<int32_t>{0, 16});
  const auto error = [&](auto change) {
    GroupedGemmBf16Params p{Layout::kNT,   1, 16, 16, 16, offsets.get(), x.get(), x.get() + 512,
                            x.get() + 1024};
    change(p);
    return grouped_gemm_bf16(p, nullptr).error;
  };
  CHECK(error([](GroupedGemmBf16Params&) {}).empty());
  CHECK(error([](GroupedGemmBf16Params& p) { p.layout = Layout::kTN; }) ==
        "grouped_gemm_bf16: layout is kTN, expected kNT or kNN");
  CHECK(error([](GroupedGemmBf16Params& p) { p.n = 12; }) ==
        "grouped_gemm_bf16: n is 12, expected a multiple of 8");
  CHECK(error([](GroupedGemmBf16Params& p) { p.offsets = nullptr; }) ==
        "grouped_gemm_bf16: offsets is null");
  GroupWgradBf16Params w{0, offsets.get(), 16, 16, 16, x.get(), x.get() + 1, c.get()};
  CHECK(group_wgrad_bf16(w, nullptr).error == "group_wgrad_bf16: b is not 16-byte aligned");

  Random random;
  QuantisedRows a(random, 16, 32, false);
  QuantisedBlocks b(random, 1, 16, 32);
  GroupedGemmFp8Params p{1, 16, 16, 32, offsets.get(), a.view, b.view, x.get()};
  p.a.rows = 8;
  CHECK(grouped_gemm_fp8(p, nullptr).error == "grouped_gemm_fp8: a.rows is 8, expected 16");
  GroupWgradFp8Params f{0, offsets.get(), 16, 16, a.view, a.view, nullptr};
  CHECK(group_wgrad_fp8(f, nullptr).error == "group_wgrad_fp8: c is null");
}
