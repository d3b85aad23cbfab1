#include "kernels/gemm/gemm.h"

#include "tests/gpu/gemm_check.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

struct Context {
  DeviceBuffer<unsigned char> workspace{std::size_t{32} << 20};
  GemmContext gemm{workspace.get(), workspace.size()};
};

struct Shape {
  int64_t m, n, k;
};

// lda and ldb leave a gap after each row.
struct Bf16Case {
  Layout layout;
  Shape shape;
  bool accumulate;
};

template <class C>
void check_gemm_bf16(Context& context, Random& random, const Bf16Case& test) {
  const auto [m, n, k] = test.shape;
  const bool a_strided = test.layout == Layout::kTN, b_strided = test.layout != Layout::kNT;
  const int64_t a_rows = a_strided ? k : m, b_rows = b_strided ? k : n;
  const int64_t lda = (a_strided ? m : k) + 8, ldb = (b_strided ? n : k) + 16, ldc = n + 8;
  INFO("seed " << random.seed << ", layout " << static_cast<int>(test.layout) << ", m " << m
               << ", n " << n << ", k " << k << ", accumulate " << test.accumulate << ", bytes "
               << sizeof(C));
  const std::vector<double> a = random.normal_bf16(size(a_rows, lda));
  const std::vector<double> b = random.normal_bf16(size(b_rows, ldb));
  const std::vector<double> before = random.normal_bf16(size(m, ldc));
  DeviceBuffer<bf16> da(to_bf16(a)), db(to_bf16(b));
  std::vector<C> c_before;
  for (const double x : before) c_before.push_back(static_cast<C>(static_cast<float>(x)));
  DeviceBuffer<C> dc(c_before);

  GemmBf16Params p;
  p.layout = test.layout, p.m = m, p.n = n, p.k = k;
  p.a = da.get(), p.lda = lda, p.b = db.get(), p.ldb = ldb, p.c = dc.get(), p.ldc = ldc;
  p.c_type = sizeof(C) == 4 ? GemmOutput::kFp32 : GemmOutput::kBf16;
  p.accumulate = test.accumulate;
  launched(gemm_bf16(context.gemm, p, nullptr));
  const std::vector<C> first = dc.download();
  dc.check_canaries();
  dc.upload(c_before);
  launched(gemm_bf16(context.gemm, p, nullptr));
  REQUIRE(same_bits(dc.download(), first));

  ExpectedGemm expected(m, ldc);
  expected.add(test.layout, 0, m, n, k, a.data(), lda, b.data(), ldb, ldc);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < ldc; ++j) {
      const std::size_t at = size(i, ldc) + size(j, 1);
      if (test.accumulate || j >= n) expected.c[at] += before[at];  // the gap keeps its values
    }
  expected.require_close(to_double(first), sizeof(C) == 4 ? kFp32Output : kBf16Output, kBf16Terms);
}

// Both of the ways in which an FP8 GEMM may run, and both layouts of the scales.
template <class Run>
void each_fp8_way(Context& context, Run run) {
  for (const bool by_cublaslt : {false, true})
    for (const bool tile_major : {false, true}) {
      context.gemm.fp8_gemms = by_cublaslt ? Fp8Gemms::kCublasLt : Fp8Gemms::kOwn;
      INFO("cuBLASLt allowed " << by_cublaslt << ", scales tile by tile " << tile_major);
      run(tile_major);
    }
}

}  // namespace

TEST_CASE("gemm_bf16 multiplies in every layout", "[gpu][gemm]") {
  Context context;
  Random random;
  const Shape shapes[] = {{128, 256, 64}, {1, 8, 8},       {333, 520, 264},
                          {8, 1032, 40},  {256, 64, 2048}, {0, 64, 64}};
  for (const Layout layout : {Layout::kNT, Layout::kNN, Layout::kTN})
    for (Shape shape : shapes) {
      // Only the contiguous dimensions must be multiples of 8.
      if (layout == Layout::kTN) shape.m = (shape.m + 7) / 8 * 8, shape.k += 3;
      if (layout == Layout::kNN) shape.m += 1;
      for (const bool accumulate : {false, true}) {
        // Sums are kept in FP32 only.
        if (!accumulate) check_gemm_bf16<bf16>(context, random, {layout, shape, accumulate});
        check_gemm_bf16<float>(context, random, {layout, shape, accumulate});
      }
    }
  context.workspace.check_canaries();
}

TEST_CASE("gemm_bf16 of no K clears C or keeps it", "[gpu][gemm]") {
  Context context;
  Random random;
  check_gemm_bf16<bf16>(context, random, {Layout::kNT, {5, 24, 0}, false});
  check_gemm_bf16<float>(context, random, {Layout::kTN, {8, 24, 0}, false});
  check_gemm_bf16<float>(context, random, {Layout::kTN, {8, 24, 0}, true});
}

TEST_CASE("gemm_fp8 multiplies tiles by blocks", "[gpu][gemm]") {
  Context context;
  Random random;
  for (const auto [m, n, k] :
       {Shape{256, 384, 512}, Shape{1, 128, 128}, Shape{77, 144, 272}, Shape{640, 256, 1536},
        Shape{144, 2064, 1040}, Shape{16, 16, 16}, Shape{0, 128, 128}})
    each_fp8_way(context, [&](bool tile_major) {
      INFO("seed " << random.seed << ", m " << m << ", n " << n << ", k " << k);
      QuantisedRows a(random, m, k, tile_major);
      QuantisedBlocks b(random, 1, n, k);
      DeviceBuffer<bf16> c(size(m, n));
      const GemmFp8Params p{m, n, k, a.view, b.view, c.get()};
      launched(gemm_fp8(context.gemm, p, nullptr));
      const std::vector<bf16> first = c.download();
      launched(gemm_fp8(context.gemm, p, nullptr));
      REQUIRE(same_bits(c.download(), first));
      c.check_canaries();
      ExpectedGemm expected(m, n);
      expected.add(Layout::kNT, 0, m, n, k, a.values.data(), k, b.values.data(), k, n);
      expected.require_close(to_double(first), kBf16Output, kFp8Terms);
    });
  REQUIRE(context.gemm.fp8_own_launches > 0);
  // Not an error: cuBLASLt may decline. On Hopper it is expected to take two of the shapes.
  if (context.gemm.fp8_cublaslt_launches == 0) WARN("cuBLASLt took no FP8 GEMM with blocks");
}

TEST_CASE("gemm_fp8_wgrad adds or writes the product of tiles by tiles", "[gpu][gemm]") {
  Context context;
  Random random;
  for (const auto [m, n, k] : {Shape{128, 256, 512}, Shape{72, 264, 144}, Shape{384, 512, 2048},
                               Shape{16, 16, 16}, Shape{1, 8, 1040}, Shape{128, 128, 0}})
    each_fp8_way(context, [&](bool tile_major) {
      INFO("seed " << random.seed << ", m " << m << ", n " << n << ", k " << k);
      QuantisedRows a(random, m, k, tile_major), b(random, n, k, tile_major);
      const std::vector<double> before = random.normal_bf16(size(m, n));
      const std::vector<float> c_before(before.begin(), before.end());
      ExpectedGemm expected(m, n);
      expected.add(Layout::kNT, 0, m, n, k, a.values.data(), k, b.values.data(), k, n);
      for (const bool accumulate : {false, true}) {
        INFO("accumulate " << accumulate);
        DeviceBuffer<float> c(c_before);
        GemmFp8WgradParams p{m, n, k, a.view, b.view, c.get()};
        p.accumulate = accumulate;
        launched(gemm_fp8_wgrad(context.gemm, p, nullptr));
        const std::vector<float> first = c.download();
        c.check_canaries();
        c.upload(c_before);
        launched(gemm_fp8_wgrad(context.gemm, p, nullptr));
        REQUIRE(same_bits(c.download(), first));
        if (accumulate)
          for (std::size_t i = 0; i < before.size(); ++i) expected.c[i] += before[i];
        expected.require_close(to_double(first), kFp32Output, kFp8Terms);
      }
    });
  if (context.gemm.fp8_cublaslt_launches == 0) WARN("cuBLASLt took no FP8 GEMM with tiles");
}

TEST_CASE("GEMMs name the argument that is wrong", "[gpu][gemm]") {
  Context context;
  DeviceBuffer<bf16> x(1024);
  const auto bf16_error = [&](auto change) {
    GemmBf16Params p;
    p.m = 16, p.n = 16, p.k = 16;
    p.a = x.get(), p.lda = 16, p.b = x.get(), p.ldb = 16, p.c = x.get() + 512, p.ldc = 16;
    change(p);
    return gemm_bf16(context.gemm, p, nullptr).error;
  };
  CHECK(bf16_error([](GemmBf16Params&) {}).empty());
  CHECK(bf16_error([](GemmBf16Params& p) { p.k = 12; }) ==
        "gemm_bf16: k is 12, expected a multiple of 8");
  CHECK(bf16_error([](GemmBf16Params& p) { p.lda = 8; }) ==
        "gemm_bf16: lda is 8, expected at least 16");
  CHECK(bf16_error([](GemmBf16Params& p) { p.b = nullptr; }) == "gemm_bf16: b is null");
  CHECK(bf16_error([](GemmBf16Params& p) { p.a += 1; }) == "gemm_bf16: a is not 16-byte aligned");
  CHECK(bf16_error([](GemmBf16Params& p) { p.m = -1; }) ==
        "gemm_bf16: m is -1, expected at least 0");

  Random random;
  QuantisedRows a(random, 16, 32, true);
  QuantisedBlocks b(random, 1, 16, 32);
  const auto fp8_error = [&](auto change) {
    GemmFp8Params p{16, 16, 32, a.view, b.view, x.get()};
    change(p);
    return gemm_fp8(context.gemm, p, nullptr).error;
  };
  CHECK(fp8_error([](GemmFp8Params&) {}).empty());
  CHECK(fp8_error([](GemmFp8Params& p) { p.n = 8; }) ==
        "gemm_fp8: n is 8, expected a multiple of 16");
  CHECK(fp8_error([](GemmFp8Params& p) { p.a.cols = 16; }) ==
        "gemm_fp8: a.cols is 16, expected 32");
  CHECK(fp8_error([](GemmFp8Params& p) { p.b.scales = nullptr; }) == "gemm_fp8: b.scales is null");
  GemmFp8WgradParams w{16, 16, 32, a.view, a.view, nullptr};
  CHECK(gemm_fp8_wgrad(context.gemm, w, nullptr).error == "gemm_fp8_wgrad: c is null");
}
