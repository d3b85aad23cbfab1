#include "kernels/optimizer/muon.h"

#include <algorithm>

#include "kernels/gemm/batched.h"
#include "kernels/optimizer/muon_reference.h"
#include "tests/gpu/gemm_check.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

std::vector<float> to_float(const std::vector<double>& v) { return {v.begin(), v.end()}; }

struct Stack {
  int64_t matrices, elements;
  std::size_t count() const { return static_cast<std::size_t>(matrices * elements); }
};

template <class Moment>
void test_momentum(const Stack& s, double max_norm) {
  constexpr bool kBf16 = std::is_same_v<Moment, bf16>;
  Random random;
  INFO("seed " << random.seed << ", " << s.matrices << " x " << s.elements << ", max_norm "
               << max_norm << ", BF16 momentum " << kBf16);
  std::vector<double> m = random.normal_bf16(s.count()), u(s.count());
  const std::vector<double> grads = random.normal_bf16(s.count());
  const std::vector<float> norm{9};
  std::vector<Moment> m_before;
  for (double x : m) m_before.push_back(static_cast<Moment>(static_cast<float>(x)));
  const DeviceBuffer<float> grads_d(to_float(grads)), norm_d(norm);
  const DeviceBuffer<float> squares_d(static_cast<std::size_t>(s.matrices * kMuonPartialSums));
  DeviceBuffer<Moment> m_d(m_before);
  const DeviceBuffer<bf16> u_d(s.count()), x_d(s.count());
  const MuonMomentumParams p{.matrices = s.matrices,
                             .elements = s.elements,
                             .momentum = m_d.get(),
                             .moments = kBf16 ? MomentType::kBf16 : MomentType::kFp32,
                             .grads = grads_d.get(),
                             .update = u_d.get(),
                             .squares = squares_d.get(),
                             .mu = 0.95,
                             .norm_squared = norm_d.get(),
                             .max_norm = max_norm};
  const MuonNormaliseParams n{.matrices = s.matrices,
                              .elements = s.elements,
                              .update = u_d.get(),
                              .squares = squares_d.get(),
                              .floor = 1e-7,
                              .x = x_d.get()};
  launched(muon_momentum(p, nullptr));
  launched(muon_normalise(n, nullptr));
  const std::vector<bf16> x = x_d.download();

  const double exact_norm = 9;
  MuonMomentumReference<double> want;
  want.n = s.matrices * s.elements;
  want.momentum = m.data(), want.grads = grads.data(), want.update = u.data();
  want.mu = 0.95, want.norm_squared = &exact_norm, want.max_norm = max_norm;
  muon_momentum_reference(want);
  require_close(to_double(m_d.download()), m, kBf16 ? 1.01 * kBf16Eps : 1e-6, 1e-6);
  require_close(to_double(u_d.download()), u, 1.01 * kBf16Eps, 1e-6);
  // Of the update as it was rounded.
  const std::vector<double> rounded = to_double(u_d.download());
  std::vector<double> normalised(s.count());
  for (int64_t i = 0; i < s.matrices; ++i)
    normalise_reference<double>(s.elements, rounded.data() + i * s.elements, 1e-7,
                                normalised.data() + i * s.elements);
  require_close(to_double(x), normalised, 1.01 * kBf16Eps, 1e-12);
  for (const auto* b : {&u_d, &x_d}) b->check_canaries();
  m_d.check_canaries();
  squares_d.check_canaries();
  m_d.upload(m_before);
  launched(muon_momentum(p, nullptr));
  launched(muon_normalise(n, nullptr));
  REQUIRE(same_bits(x_d.download(), x));
}

struct Context {
  DeviceBuffer<unsigned char> workspace{std::size_t{32} << 20};
  GemmContext gemm{workspace.get(), workspace.size()};
};

struct Product {
  Layout layout;
  int64_t batch, m, n, k;
};

void test_product(Context& context, const Product& t) {
  Random random;
  INFO("seed " << random.seed << ", layout " << static_cast<int>(t.layout) << ", batch " << t.batch
               << ", m " << t.m << ", n " << t.n << ", k " << t.k);
  const std::vector<double> a = random.normal_bf16(size(t.batch * t.m, t.k));
  const std::vector<double> b = random.normal_bf16(size(t.batch * t.n, t.k));
  const std::vector<double> c = random.normal_bf16(size(t.batch * t.m, t.n));
  const DeviceBuffer<bf16> a_d(to_bf16(a)), b_d(to_bf16(b)), c_d(to_bf16(c)), d_d(c.size());
  const BatchedGemmParams p{.layout = t.layout,
                            .batch = t.batch,
                            .m = t.m,
                            .n = t.n,
                            .k = t.k,
                            .alpha = 2.0315F,
                            .beta = -4.775F,
                            .a = a_d.get(),
                            .b = b_d.get(),
                            .c = c_d.get(),
                            .d = d_d.get()};
  launched(batched_gemm_bf16(context.gemm, p, nullptr));
  const std::vector<bf16> first = d_d.download();
  launched(batched_gemm_bf16(context.gemm, p, nullptr));
  REQUIRE(same_bits(d_d.download(), first));
  d_d.check_canaries();
  const std::vector<double> got = to_double(first);
  std::vector<double> want(c.size());
  for (int64_t i = 0; i < t.batch; ++i)
    scaled_product_reference<double>(t.layout, t.m, t.n, t.k, p.alpha, a.data() + i * t.m * t.k,
                                     b.data() + i * t.n * t.k, p.beta, c.data() + i * t.m * t.n,
                                     want.data() + i * t.m * t.n);
  // FP32 sums of k products of about 1.
  require_close(got, want, 1.01 * kBf16Eps, 1e-5 * std::sqrt(static_cast<double>(t.k)));
}

}  // namespace

TEST_CASE("muon_momentum and muon_normalise", "[gpu][optimizer]") {
  for (const Stack& s : {Stack{1, 8}, Stack{3, 4096}, Stack{2, 1'000'008}, Stack{0, 64}})
    for (const double max_norm : {0.0, 1.0, 100.0}) {
      test_momentum<float>(s, max_norm);
      test_momentum<bf16>(s, max_norm);
    }
}

TEST_CASE("muon_update", "[gpu][optimizer]") {
  for (const int64_t n : {int64_t{0}, int64_t{8}, int64_t{1'000'008}}) {
    Random random;
    INFO("seed " << random.seed << ", n " << n);
    const auto count = static_cast<std::size_t>(n);
    std::vector<double> master = random.normal_bf16(count), weights(count);
    const std::vector<double> x = random.normal_bf16(count);
    const DeviceBuffer<float> master_d(to_float(master));
    const DeviceBuffer<bf16> x_d(to_bf16(x)), weights_d(count);
    launched(muon_update({.n = n,
                          .x = x_d.get(),
                          .master = master_d.get(),
                          .weights_out = weights_d.get(),
                          .lr = 0.01,
                          .rate = 0.128,
                          .weight_decay = 0.1},
                         nullptr));
    muon_update_reference<double>(n, x.data(), 0.01, 0.128, 0.1, master.data(), weights.data());
    const std::vector<float> got = master_d.download();
    require_close(to_double(got), master, 3e-7, 1e-7);
    REQUIRE(same_bits(weights_d.download(), to_bf16(to_double(got))));
    master_d.check_canaries();
    weights_d.check_canaries();
  }
}

TEST_CASE("batched_gemm_bf16", "[gpu][gemm]") {
  Context context;
  for (const Layout layout : {Layout::kNT, Layout::kNN, Layout::kTN}) {
    test_product(context, {layout, 1, 64, 64, 64});
    test_product(context, {layout, 3, 96, 64, 160});
    test_product(context, {layout, 4, 256, 512, 256});
    test_product(context, {layout, 0, 64, 64, 64});
  }
}

// The iteration in BF16: singular values near 1 means rows that are
// nearly orthonormal, X Xᵀ with eigenvalues of 0.7² to 1.2².
TEST_CASE("Newton-Schulz in BF16 makes rows nearly orthonormal", "[gpu][optimizer]") {
  constexpr int64_t kRows = 256, kCols = 1024;
  Context context;
  Random random;
  INFO("seed " << random.seed);
  std::vector<double> x = random.normal_bf16(size(kRows, kCols));
  normalise_reference<double>(kRows * kCols, x.data(), 1e-7, x.data());
  DeviceBuffer<bf16> x_d(to_bf16(x)), next_d(x.size());
  DeviceBuffer<bf16> gram_d(size(kRows, kRows)), square_d(size(kRows, kRows));
  bf16 *from = x_d.get(), *to = next_d.get();
  const auto product = [&](const BatchedGemmParams& p) {
    launched(batched_gemm_bf16(context.gemm, p, nullptr));
  };
  for (int i = 0; i < 5; ++i) {
    product({Layout::kNT, 1, kRows, kRows, kCols, 1, 0, from, from, nullptr, gram_d.get()});
    product({Layout::kNT, 1, kRows, kRows, kRows, 2.0315F, -4.775F, gram_d.get(), gram_d.get(),
             gram_d.get(), square_d.get()});
    product({Layout::kNN, 1, kRows, kCols, kRows, 1, 3.4445F, square_d.get(), from, from, to});
    std::swap(from, to);
  }
  const std::vector<double> got = to_double((from == x_d.get() ? x_d : next_d).download());
  // Of random rows all singular values are within a third of each other, far above the least that
  // five steps lift: each row's norm is between those of the values.
  for (int64_t r = 0; r < kRows; ++r) {
    double squares = 0;
    for (int64_t c = 0; c < kCols; ++c) squares += std::pow(got[size(r, kCols) + size(c, 1)], 2);
    CHECK(std::sqrt(squares) > 0.65);
    CHECK(std::sqrt(squares) < 1.25);
  }
}
