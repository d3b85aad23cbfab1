#include "kernels/attention/attention.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "kernels/attention/attention_merge.h"
#include "kernels/attention/attention_part_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

using Values = std::vector<double>;
using Bf16Buffer = DeviceBuffer<bf16>;

constexpr int64_t kPad = 8;  // unused elements at the end of every row

std::size_t size(int64_t n) { return static_cast<std::size_t>(n); }

// A matrix of one row per token, on both sides.
struct Matrix {
  Matrix(int64_t rows, int64_t width_, Random& random, double sigma)
      : width(width_),
        host(random.normal_bf16(size(rows * (width_ + kPad)), sigma)),
        device(to_bf16(host)) {}
  Matrix(int64_t rows, int64_t width_) : width(width_), device(size(rows * (width_ + kPad))) {}
  int64_t ld() const { return width + kPad; }

  // The used elements within `tolerance` (same layout) of `expected`, the others never written.
  void check(const char* name, const Values& expected, const Values& tolerance) const {
    const std::vector<bf16> actual = device.download();
    double worst = 0;
    std::size_t at = 0, touched = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      if (static_cast<int64_t>(i) % ld() >= width) {
        uint16_t bits;
        std::memcpy(&bits, &actual[i], sizeof bits);
        touched += bits != 0xa5a5;  // what DeviceBuffer filled it with
        continue;
      }
      const double excess =
          std::abs(double{__bfloat162float(actual[i])} - expected[i]) / tolerance[i];
      if (!(excess <= worst)) worst = excess, at = i;
      if (std::isnan(excess)) break;
    }
    INFO(name << ": element " << at << " is " << __bfloat162float(actual[at]) << ", expected "
              << expected[at] << " within " << tolerance[at]);
    REQUIRE(worst <= 1);
    REQUIRE(touched == 0);
    device.check_canaries();
  }

  int64_t width;
  Values host;
  Bf16Buffer device;
};

struct Attention {
  Attention(const AttentionShape& s_, Random& random, double sigma)
      : s(s_),
        scale(static_cast<float>(1 / std::sqrt(static_cast<double>(s_.d_qk)))),
        q(s.tokens(), s.heads * s.d_qk, random, sigma),
        k(s.tokens(), s.kv_heads * s.d_qk, random, sigma),
        v(s.tokens(), s.kv_heads * s.d_v, random, 1),
        dout(s.tokens(), s.heads * s.d_v, random, 1),
        out(s.tokens(), s.heads * s.d_v),
        dq(s.tokens(), q.width),
        dk(s.tokens(), k.width),
        dv(s.tokens(), v.width),
        lse(size(s.tokens() * s.heads)),
        workspace(attention_backward_workspace(s)) {}

  AttentionForwardParams forward() const {
    AttentionForwardParams p;
    inputs(p);
    p.out = out.device.get(), p.ldo = out.ld(), p.lse = lse.get();
    return p;
  }
  AttentionBackwardParams backward() const {
    AttentionBackwardParams p;
    inputs(p);
    p.out = out.device.get(), p.ldo = out.ld(), p.lse = lse.get();
    p.dout = dout.device.get(), p.lddo = dout.ld();
    p.dq = dq.device.get(), p.lddq = dq.ld();
    p.dk = dk.device.get(), p.lddk = dk.ld();
    p.dv = dv.device.get(), p.lddv = dv.ld();
    p.workspace = workspace.get(), p.workspace_bytes = workspace.size();
    return p;
  }
  template <class Params>
  void inputs(Params& p) const {
    p.shape = s, p.scale = scale;
    p.q = q.device.get(), p.ldq = q.ld();
    p.k = k.device.get(), p.ldk = k.ld();
    p.v = v.device.get(), p.ldv = v.ld();
  }

  AttentionShape s;
  float scale;
  Matrix q, k, v, dout, out, dq, dk, dv;
  DeviceBuffer<float> lse;
  DeviceBuffer<char> workspace;
};

// Probabilities and results are each rounded to BF16, by up to kBf16Eps of themselves: the
// tolerance is twice that of the sum of a result's terms, all taken positive, and 5% for FP32
// arithmetic.
constexpr double kRounding = 2.1 * kBf16Eps;

// Probabilities below the range of FP32 may be 0.
constexpr double kUnderflow = 1e-34;

void to_tolerances(Values& magnitudes) {
  for (double& x : magnitudes) x = kRounding * x + kUnderflow;
}

bool sees(const AttentionShape& s, int64_t query, int64_t key) {
  return s.causal ? key <= query : query >= s.first_query && key < s.keys;
}

// Positions by which the reference has each query see what the shape says.
std::vector<int64_t> query_positions(const AttentionShape& s) {
  std::vector<int64_t> at;
  for (int64_t i = 0; i < s.seq; ++i)
    at.push_back(s.causal ? i : i < s.first_query ? -1 : s.keys - 1);
  return at;
}
std::vector<int64_t> key_positions(const AttentionShape& s) {
  std::vector<int64_t> at;
  for (int64_t i = 0; i < s.seq; ++i) at.push_back(i);
  return at;
}

// Minus infinity where it is expected, elsewhere within rounding of FP32 sums of d_qk products.
void check_lse(Values actual, Values expected) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isinf(expected[i])) continue;
    INFO("element " << i);
    REQUIRE(actual[i] == expected[i]);
    actual[i] = expected[i] = 0;
  }
  require_close(actual, expected, 1e-5, 1e-4);
}

void check_forward(const Attention& a) {
  const AttentionShape& s = a.s;
  Values out(a.out.device.size()), magnitude(out.size()), lse(a.lse.size());
  const auto reference = [&](const Values& v, Values& result) {
    attention_part_reference<double>(s, query_positions(s), key_positions(s), a.scale,
                                     a.q.host.data(), a.q.ld(), a.k.host.data(), a.k.ld(), v.data(),
                                     a.v.ld(), result.data(), a.out.ld(), lse.data());
  };
  Values positive = a.v.host;
  for (double& x : positive) x = std::abs(x);
  reference(positive, magnitude);
  reference(a.v.host, out);
  to_tolerances(magnitude);
  a.out.check("out", out, magnitude);
  check_lse(to_double(a.lse.download()), lse);
  a.lse.check_canaries();
}

// Σ |terms| of dq, dk and dv, laid out as they are. To |ds| is added what FP32 sums of d_v products
// may be off by.
void backward_magnitudes(const Attention& a, const Values& out, const Values& lse, Values& dq,
                         Values& dk, Values& dv) {
  const AttentionShape& s = a.s;
  const double scale = a.scale;
  for (int64_t t = 0; t < s.tokens(); ++t)
    for (int64_t u = t / s.seq * s.seq; u < t / s.seq * s.seq + s.seq; ++u)
      for (int64_t h = 0; h < s.heads && sees(s, t % s.seq, u % s.seq); ++h) {
        const int64_t q0 = t * a.q.ld() + h * s.d_qk, k0 = u * a.k.ld() + h / s.group() * s.d_qk;
        const int64_t o0 = t * a.out.ld() + h * s.d_v, v0 = u * a.v.ld() + h / s.group() * s.d_v;
        double score = 0, dp = 0, sum = 0;
        for (int64_t d = 0; d < s.d_qk; ++d)
          score += a.q.host[size(q0 + d)] * a.k.host[size(k0 + d)];
        for (int64_t d = 0; d < s.d_v; ++d) {
          const double from_v = a.dout.host[size(o0 + d)] * a.v.host[size(v0 + d)];
          const double from_out = a.dout.host[size(o0 + d)] * out[size(o0 + d)];
          dp += from_v - from_out;
          sum += std::abs(from_v) + std::abs(from_out);
        }
        const double p = std::exp(scale * score - lse[size(t * s.heads + h)]);
        const double ds = scale * p * (std::abs(dp) + 0x1p-14 * sum);
        for (int64_t d = 0; d < s.d_qk; ++d) {
          dq[size(q0 + d)] += ds * std::abs(a.k.host[size(k0 + d)]);
          dk[size(k0 + d)] += ds * std::abs(a.q.host[size(q0 + d)]);
        }
        for (int64_t d = 0; d < s.d_v; ++d)
          dv[size(v0 + d)] += p * std::abs(a.dout.host[size(o0 + d)]);
      }
}

// Against the reference on the kernel's own inputs, which include the forward's results.
void check_backward(const Attention& a) {
  const Values out = to_double(a.out.device.download()), lse = to_double(a.lse.download());
  Values dq(a.dq.device.size()), dk(a.dk.device.size()), dv(a.dv.device.size());
  attention_part_backward_reference<double>(a.s, query_positions(a.s), key_positions(a.s), a.scale,
                                            a.q.host.data(), a.q.ld(), a.k.host.data(), a.k.ld(),
                                            a.v.host.data(), a.v.ld(), out.data(), a.out.ld(),
                                            a.dout.host.data(), a.dout.ld(), lse.data(), dq.data(),
                                            a.dq.ld(), dk.data(), a.dk.ld(), dv.data(), a.dv.ld());
  Values dq_sum(dq.size()), dk_sum(dk.size()), dv_sum(dv.size());
  backward_magnitudes(a, out, lse, dq_sum, dk_sum, dv_sum);
  to_tolerances(dq_sum);
  to_tolerances(dk_sum);
  to_tolerances(dv_sum);
  a.dq.check("dq", dq, dq_sum);
  a.dk.check("dk", dk, dk_sum);
  a.dv.check("dv", dv, dv_sum);
  a.workspace.check_canaries();
}

// The output and its log-sum-exp over this block and other keys, of which every query sees some.
void merge_with_others(Attention& a, Random& random) {
  std::vector<float> lse = a.lse.download();
  const Values others = random.normal_bf16(lse.size());
  for (std::size_t i = 0; i < lse.size(); ++i) {
    const double most = std::max(double{lse[i]}, others[i]);
    lse[i] = static_cast<float>(
        most + std::log(std::exp(double{lse[i]} - most) + std::exp(others[i] - most)));
  }
  a.lse.upload(lse);
  a.out.device.upload(to_bf16(random.normal_bf16(a.out.device.size())));
}

void run_and_check(const AttentionShape& s, double sigma) {
  Random random;
  INFO("seed " << random.seed);
  CAPTURE(s.batch, s.seq, s.heads, s.kv_heads, s.d_qk, s.d_v, sigma);
  CAPTURE(s.causal, s.first_query, s.keys);
  Attention a(s, random, sigma);
  launched(attention_forward(a.forward(), nullptr));
  check_forward(a);
  if (!s.causal) merge_with_others(a, random);
  launched(attention_backward(a.backward(), nullptr));
  check_backward(a);
}

// Blocks as the steps of a ring have them, halves of the queries or of the keys, and others.
std::vector<AttentionShape> blocks(AttentionShape s) {
  s.causal = false;
  std::vector<AttentionShape> all;
  const int64_t half = s.seq / 2;
  for (const auto& [first_query, keys] :
       {std::pair{int64_t{0}, half}, std::pair{half, s.seq}, std::pair{half / 3, half + 1},
        std::pair{int64_t{0}, s.seq}, std::pair{s.seq, s.seq}}) {
    s.first_query = first_query, s.keys = keys;
    all.push_back(s);
  }
  return all;
}

struct Parts {
  int64_t rows, heads, d_v;
  int parts;
};

void test_merge(const Parts& t) {
  Random random;
  INFO("seed " << random.seed << ", rows " << t.rows << ", heads " << t.heads << ", d_v " << t.d_v
               << ", parts " << t.parts);
  const std::size_t n = size(t.rows * t.heads * t.d_v), rows = size(t.rows * t.heads);
  std::vector<Values> outs, lses;
  std::vector<std::unique_ptr<Bf16Buffer>> outs_d;
  std::vector<std::unique_ptr<DeviceBuffer<float>>> lses_d;
  std::vector<const double*> out_rows, lse_rows;
  AttentionMergeParams p{.rows = t.rows, .heads = t.heads, .d_v = t.d_v, .parts = t.parts};
  for (int i = 0; i < t.parts; ++i) {
    outs.push_back(random.normal_bf16(n));
    lses.push_back(random.normal_bf16(rows, 4));
    // A part that sees no key; the first sees some of every row.
    for (std::size_t r = 0; i > 0 && r < rows; ++r)
      if (random.integer(0, 2) == 0) {
        lses.back()[r] = -std::numeric_limits<double>::infinity();
        std::fill_n(outs.back().begin() + static_cast<std::ptrdiff_t>(r) * t.d_v, t.d_v, 0.0);
      }
    outs_d.push_back(std::make_unique<Bf16Buffer>(to_bf16(outs.back())));
    lses_d.push_back(std::make_unique<DeviceBuffer<float>>(
        std::vector<float>(lses.back().begin(), lses.back().end())));
    p.outs[i] = outs_d.back()->get(), p.lses[i] = lses_d.back()->get();
  }
  for (int i = 0; i < t.parts; ++i)
    out_rows.push_back(outs[size(i)].data()), lse_rows.push_back(lses[size(i)].data());
  Values out(n), lse(rows);
  attention_merge_reference<double>(t.rows, t.heads, t.d_v, out_rows, lse_rows, out.data(),
                                    lse.data());
  const Bf16Buffer out_d(n);
  const DeviceBuffer<float> lse_d(rows);
  p.out = out_d.get(), p.lse = lse_d.get();
  launched(attention_merge(p, nullptr));
  // BF16 rounding of the result, and FP32 exponentials of differences up to about 20.
  require_close(to_double(out_d.download()), out, 1.01 * kBf16Eps, 1e-5);
  require_close(to_double(lse_d.download()), lse, 1e-6, 1e-5);
  out_d.check_canaries();
  lse_d.check_canaries();
}

}  // namespace

TEST_CASE("attention over blocks of keys agrees with the reference") {
  const auto [d_qk, d_v] =
      GENERATE(std::pair{192, 128}, std::pair{128, 128}, std::pair{96, 64}, std::pair{64, 64});
  const int64_t seq = GENERATE(2, 37, 128, 256, 333);
  for (const AttentionShape& s : blocks({2, seq, 4, 2, d_qk, d_v})) run_and_check(s, 1);
}

TEST_CASE("attention over blocks of keys pads other head widths") {
  for (const auto& [d_qk, d_v] : {std::pair{48, 32}, std::pair{256, 256}, std::pair{72, 56}})
    for (const AttentionShape& s : blocks({1, 150, 2, 1, d_qk, d_v})) run_and_check(s, 1);
}

TEST_CASE("attention over parts of the keys is merged by their log-sum-exps") {
  // One part, a ring of two and of four, as many as fit, a ragged end, nothing.
  for (const Parts& t : {Parts{40, 3, 64, 1}, Parts{257, 4, 128, 2}, Parts{100, 2, 8, 4},
                         Parts{33, 1, 256, 64}, Parts{0, 4, 64, 2}})
    test_merge(t);
  AttentionMergeParams p{.rows = 1, .heads = 1, .d_v = 8, .parts = 65};
  CHECK(attention_merge(p, nullptr).error.find("parts") != std::string::npos);
  p.parts = 1;
  CHECK(attention_merge(p, nullptr).error.find("out or lse is null") != std::string::npos);
}

TEST_CASE("attention agrees with the reference at the head widths of models") {
  const auto [d_qk, d_v] =
      GENERATE(std::pair{192, 128}, std::pair{128, 128}, std::pair{96, 64}, std::pair{64, 64});
  // One token, less than a tile, tile boundaries and one past, several tiles.
  const int64_t seq = GENERATE(1, 37, 64, 128, 129, 333);
  run_and_check({2, seq, 2, 2, d_qk, d_v}, 1);
}

TEST_CASE("attention sums the gradients of a group of query heads") {
  run_and_check({1, 200, 6, 2, 128, 128}, 1);
  run_and_check({2, 150, 4, 1, 64, 64}, 1);
  run_and_check({1, 131, 4, 2, 192, 128}, 1);
}

TEST_CASE("attention pads other head widths") {
  const auto [d_qk, d_v] =
      GENERATE(std::pair{48, 32}, std::pair{8, 8}, std::pair{16, 64}, std::pair{72, 56},
               std::pair{64, 128}, std::pair{160, 144}, std::pair{256, 256}, std::pair{256, 64});
  run_and_check({2, 150, 2, 1, d_qk, d_v}, 1);
}

TEST_CASE("attention of large scores") {
  // Scores reach ±100: without the running maximum the exponentials overflow.
  run_and_check({1, 300, 2, 2, 128, 128}, 5);
  run_and_check({1, 300, 2, 1, 192, 128}, 5);
}

TEST_CASE("attention of sequences much longer than a tile") {
  run_and_check({1, 1500, 1, 1, 192, 128}, 1);
  run_and_check({1, 1111, 2, 1, 64, 64}, 1);
}

TEST_CASE("attention gives the same bits twice") {
  Random random;
  INFO("seed " << random.seed);
  const Attention a({2, 777, 2, 1, 192, 128}, random, 1);
  launched(attention_forward(a.forward(), nullptr));
  launched(attention_backward(a.backward(), nullptr));
  const auto out = a.out.device.download(), dq = a.dq.device.download(),
             dk = a.dk.device.download(), dv = a.dv.device.download();
  const auto lse = a.lse.download();
  launched(attention_forward(a.forward(), nullptr));
  launched(attention_backward(a.backward(), nullptr));
  REQUIRE(same_bits(out, a.out.device.download()));
  REQUIRE(same_bits(lse, a.lse.download()));
  REQUIRE(same_bits(dq, a.dq.device.download()));
  REQUIRE(same_bits(dk, a.dk.device.download()));
  REQUIRE(same_bits(dv, a.dv.device.download()));
}

TEST_CASE("attention of nothing launches nothing") {
  AttentionForwardParams forward;
  forward.shape = {2, 0, 4, 2, 64, 64};
  forward.scale = 1;
  launched(attention_forward(forward, nullptr));
  AttentionBackwardParams backward;
  backward.shape = {0, 100, 4, 2, 64, 64};
  backward.scale = 1;
  launched(attention_backward(backward, nullptr));
  REQUIRE(attention_backward_workspace(backward.shape) == 0);
}

TEST_CASE("attention names the argument that it refuses") {
  Random random;
  const Attention a({1, 16, 4, 2, 64, 64}, random, 1);
  const auto refused = [](const Status& s, const char* argument) {
    INFO(s.error);
    REQUIRE(s.error.find(argument) != std::string::npos);
  };
  const auto forward = [&](auto&& change, const char* argument) {
    AttentionForwardParams p = a.forward();
    change(p);
    refused(attention_forward(p, nullptr), argument);
  };
  forward([](auto& p) { p.shape.batch = -1; }, "batch");
  forward([](auto& p) { p.shape.batch = int64_t{1} << 40; }, "batch");
  forward([](auto& p) { p.shape.seq = int64_t{1} << 40; }, "seq");
  forward([](auto& p) { p.shape.heads = 0; }, "heads");
  forward([](auto& p) { p.shape.kv_heads = 3; }, "kv_heads");
  forward([](auto& p) { p.shape.d_qk = 60; }, "d_qk");
  forward([](auto& p) { p.shape.d_v = 264; }, "d_v");
  forward([](auto& p) { p.scale = -1; }, "scale");
  forward([](auto& p) { p.shape.keys = 4; }, "causal");
  forward([](auto& p) { p.shape.causal = false; }, "keys");
  forward([](auto& p) { p.shape.causal = false, p.shape.keys = 17; }, "keys");
  forward([](auto& p) { p.shape.causal = false, p.shape.first_query = 17; }, "first_query");
  forward([](auto& p) { p.q = nullptr; }, "q is null");
  forward([](auto& p) { p.k += 1; }, "k is not 16-byte aligned");
  forward([](auto& p) { p.ldv -= 8 + kPad; }, "ld of v");
  forward([](auto& p) { p.ldo += 1; }, "ld of out");
  forward([](auto& p) { p.lse = nullptr; }, "lse");

  const auto backward = [&](auto&& change, const char* argument) {
    AttentionBackwardParams p = a.backward();
    change(p);
    refused(attention_backward(p, nullptr), argument);
  };
  backward([](auto& p) { p.shape.d_v = 0; }, "d_v");
  backward([](auto& p) { p.scale = 0; }, "scale");
  backward([](auto& p) { p.dout = nullptr; }, "dout");
  backward([](auto& p) { p.dk = nullptr; }, "dk");
  backward([](auto& p) { p.lddq = 8; }, "ld of dq");
  backward([](auto& p) { p.lse = nullptr; }, "lse");
  backward([](auto& p) { p.workspace = nullptr; }, "workspace");
  backward([](auto& p) { p.workspace_bytes -= 1; }, "workspace_bytes");
}
