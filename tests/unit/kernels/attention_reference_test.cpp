#include "kernels/attention/attention_reference.h"

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/catch.h"

namespace orrery::kernels {
namespace {

using Values = std::vector<double>;

// Inputs and outputs of one shape; every row is `pad` elements wider than its heads need.
struct Attention {
  AttentionShape s;
  double scale;
  int64_t pad = 0;
  Values q = {}, k = {}, v = {}, out = {}, lse = {}, dout = {}, dq = {}, dk = {}, dv = {};

  int64_t ldq() const { return s.heads * s.d_qk + pad; }
  int64_t ldk() const { return s.kv_heads * s.d_qk + pad; }
  int64_t ldv() const { return s.kv_heads * s.d_v + pad; }
  int64_t ldo() const { return s.heads * s.d_v + pad; }

  void forward() {
    out.assign(static_cast<std::size_t>(s.tokens() * ldo()), -7);
    lse.assign(static_cast<std::size_t>(s.tokens() * s.heads), 0);
    attention_forward_reference(s, scale, q.data(), ldq(), k.data(), ldk(), v.data(), ldv(),
                                out.data(), ldo(), lse.data());
  }
  void backward() {
    dq.assign(q.size(), -7);
    dk.assign(k.size(), -7);
    dv.assign(v.size(), -7);
    attention_backward_reference(s, scale, q.data(), ldq(), k.data(), ldk(), v.data(), ldv(),
                                 out.data(), ldo(), dout.data(), ldo(), lse.data(), dq.data(),
                                 ldq(), dk.data(), ldk(), dv.data(), ldv());
  }
  // sum(out · dout) without the padding.
  double loss() {
    forward();
    double sum = 0;
    for (int64_t t = 0; t < s.tokens(); ++t)
      for (int64_t i = 0; i < s.heads * s.d_v; ++i) {
        const auto at = static_cast<std::size_t>(t * ldo() + i);
        sum += out[at] * dout[at];
      }
    return sum;
  }
};

// Central differences of the loss by every used element of x; padding must be untouched.
void check_gradient(Attention& a, Values& x, const Values& gradient, int64_t ld, int64_t width) {
  constexpr double kStep = 1e-5;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (static_cast<int64_t>(i) % ld >= width) {
      CHECK(gradient[i] == -7);
      continue;
    }
    const double saved = x[i];
    x[i] = saved + kStep;
    const double up = a.loss();
    x[i] = saved - kStep;
    const double down = a.loss();
    x[i] = saved;
    CAPTURE(i);
    CHECK(gradient[i] == Approx((up - down) / (2 * kStep)).margin(1e-7).epsilon(1e-6));
  }
}

TEST_CASE("attention of two tokens by hand") {
  // Token 0 sees itself only. Token 1 has scores 2·(1·log 3 / 2) = log 3 and 0, so weights 3/4,
  // 1/4.
  Attention a{{1, 2, 1, 1, 1, 1}, 2.0};
  a.q = {5, std::log(3.0) / 2};
  a.k = {1, 0};
  a.v = {8, 4};
  a.forward();
  CHECK(a.out[0] == Approx(8));
  CHECK(a.out[1] == Approx(7));
  CHECK(a.lse[0] == Approx(10));
  CHECK(a.lse[1] == Approx(std::log(4.0)));
  a.dout = {1, 2};
  a.backward();
  // delta_1 = 14; dp = (16, 8); dscore = p · (dp - delta) = (1.5, -1.5), times the scale: (3, -3).
  CHECK(a.dq[0] == Approx(0).margin(1e-12));
  CHECK(a.dq[1] == Approx(3));
  CHECK(a.dk[0] == Approx(3 * a.q[1]));
  CHECK(a.dk[1] == Approx(-3 * a.q[1]));
  CHECK(a.dv[0] == Approx(1 + 0.75 * 2));
  CHECK(a.dv[1] == Approx(0.25 * 2));
}

TEST_CASE("attention gradients agree with finite differences") {
  const AttentionShape s =
      GENERATE(AttentionShape{1, 5, 2, 2, 3, 3}, AttentionShape{2, 4, 4, 2, 3, 2},
               AttentionShape{1, 6, 3, 1, 2, 4}, AttentionShape{3, 1, 2, 1, 2, 2});
  Attention a{s, 0.7, 3};
  const unsigned seed = std::random_device{}();
  CAPTURE(seed, s.batch, s.seq, s.heads, s.kv_heads, s.d_qk, s.d_v);
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  const auto fill = [&](Values& x, int64_t ld) {
    x.resize(static_cast<std::size_t>(s.tokens() * ld));
    for (double& e : x) e = normal(engine);
  };
  fill(a.q, a.ldq());
  fill(a.k, a.ldk());
  fill(a.v, a.ldv());
  fill(a.dout, a.ldo());
  a.forward();
  a.backward();
  check_gradient(a, a.q, a.dq, a.ldq(), s.heads * s.d_qk);
  check_gradient(a, a.k, a.dk, a.ldk(), s.kv_heads * s.d_qk);
  check_gradient(a, a.v, a.dv, a.ldv(), s.kv_heads * s.d_v);
}

TEST_CASE("a constant added to all keys' scores changes only the log-sum-exp") {
  // k' = k + c·1 adds scale · c · sum(q) to every score of a query.
  Attention a{{1, 4, 1, 1, 2, 2}, 1.0};
  a.q = {1, 2, -1, 0.5, 0.25, 3, 2, 2};
  a.k = {0.5, 1, 2, -1, 1, 1, 0, 3};
  a.v = {1, 2, 3, 4, 5, 6, 7, 8};
  a.forward();
  const Attention before = a;
  for (double& x : a.k) x += 300;  // exp(300 · 3.25) overflows: the maximum has to be subtracted
  a.forward();
  for (std::size_t i = 0; i < a.out.size(); ++i) CHECK(a.out[i] == Approx(before.out[i]));
  for (std::size_t t = 0; t < 4; ++t)
    CHECK(a.lse[t] == Approx(before.lse[t] + 300 * (a.q[2 * t] + a.q[2 * t + 1])));
}

}  // namespace
}  // namespace orrery::kernels
