#include "kernels/optimizer/muon_reference.h"

#include "runtime/model/muon_batch.h"
#include "tests/catch.h"

using namespace orrery;
using namespace orrery::kernels;

namespace {

using Matrix = std::vector<double>;

// A product of Givens rotations, orthogonal and full.
Matrix orthogonal(int64_t n, double angle) {
  Matrix q(static_cast<std::size_t>(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i) q[static_cast<std::size_t>(i * n + i)] = 1;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) {
      const double c = std::cos(angle * static_cast<double>(i + 2 * j));
      const double s = std::sin(angle * static_cast<double>(i + 2 * j));
      for (int64_t k = 0; k < n; ++k) {
        double& a = q[static_cast<std::size_t>(k * n + i)];
        double& b = q[static_cast<std::size_t>(k * n + j)];
        const double x = a, y = b;
        a = c * x - s * y, b = s * x + c * y;
      }
    }
  return q;
}

// U diag(s) Vᵀ of rows x cols, from the first columns of U and V.
Matrix from_svd(int64_t rows, int64_t cols, const Matrix& u, const Matrix& v, const Matrix& s) {
  Matrix x(static_cast<std::size_t>(rows * cols), 0.0);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      for (std::size_t k = 0; k < s.size(); ++k)
        x[static_cast<std::size_t>(i * cols + j)] += u[static_cast<std::size_t>(i * rows) + k] *
                                                     s[k] *
                                                     v[static_cast<std::size_t>(j * cols) + k];
  return x;
}

// What the ops of a share do to one matrix.
Matrix newton_schulz(int64_t rows, int64_t cols, const Matrix& update, int steps) {
  const MuonBatch batch{0, 1, rows, cols};
  Matrix x(update.size());
  normalise_reference<double>(rows * cols, update.data(), NewtonSchulz::norm_floor, x.data());
  const auto product = [&](NewtonSchulzProduct p, const std::vector<const Matrix*>& in) {
    OpShape op;
    op.column = static_cast<int64_t>(p);
    const NewtonSchulzTerm t = newton_schulz_term(op, batch);
    const auto of = [&](int i) { return in[static_cast<std::size_t>(i)]->data(); };
    Matrix out(static_cast<std::size_t>(t.c_elements()));
    scaled_product_reference<double>(static_cast<Layout>(t.shape.layout), t.shape.m, t.shape.n,
                                     t.shape.k, t.alpha, of(t.a), of(t.b), t.beta, of(t.c),
                                     out.data());
    return out;
  };
  for (int i = 0; i < steps; ++i) {
    const Matrix gram = product(NewtonSchulzProduct::kGram, {&x});
    const Matrix square = product(NewtonSchulzProduct::kSquare, {&gram});
    x = product(NewtonSchulzProduct::kApply, {&square, &x});
  }
  return x;
}

// The iteration on one singular value: s -> a s + b s³ + c s⁵.
double iterated(double s, int steps) {
  for (int i = 0; i < steps; ++i)
    s = NewtonSchulz::a * s + NewtonSchulz::b * s * s * s + NewtonSchulz::c * s * s * s * s * s;
  return s;
}

}  // namespace

TEST_CASE("Muon's momentum is Nesterov's", "[kernels][optimizer]") {
  // Norm 4 clipped to 2 halves the gradients to 1 and -2 (1e-6 in the norm is below the tolerance).
  // M = 0.5·4 + 1 = 3 and 0.5·(-2) - 2 = -3; U = 1 + 0.5·3 = 2.5 and -2 - 0.5·3 = -3.5.
  std::vector<double> m{4, -2}, u(2);
  const std::vector<double> grads{2, -4};
  const double norm_squared = 16;
  MuonMomentumReference<double> p;
  p.n = 2, p.momentum = m.data(), p.grads = grads.data(), p.update = u.data();
  p.mu = 0.5, p.norm_squared = &norm_squared, p.max_norm = 2;
  muon_momentum_reference(p);
  CHECK(m[0] == Approx(3).epsilon(1e-6));
  CHECK(m[1] == Approx(-3).epsilon(1e-6));
  CHECK(u[0] == Approx(2.5).epsilon(1e-6));
  CHECK(u[1] == Approx(-3.5).epsilon(1e-6));
}

TEST_CASE("Muon's update decays, then steps", "[kernels][optimizer]") {
  // 2 - 0.1·0.5·2 - 0.3·1 = 1.6.
  double master = 2, weight = 0;
  const double x = 1;
  muon_update_reference<double>(1, &x, 0.1, 0.3, 0.5, &master, &weight);
  CHECK(master == Approx(1.6));
  CHECK(weight == master);
  // 0.2·sqrt(max(16, 4)) = 0.8 of the learning rate.
  CHECK(MuonBatch{0, 1, 16, 4}.rate() == Approx(0.8));
  CHECK(MuonBatch{0, 1, 4, 16}.rate() == Approx(0.8));
}

TEST_CASE("A scaled product in every layout", "[kernels][optimizer]") {
  // A = [1 2; 3 4], B = [5 6; 7 8]: A·B = [19 22; 43 50], A·Bᵀ = [17 23; 39 53],
  // Aᵀ·B = [26 30; 38 44]; half of it and twice C = [1 0; 0 1].
  const Matrix a{1, 2, 3, 4}, b{5, 6, 7, 8}, c{1, 0, 0, 1};
  const std::pair<Layout, Matrix> wants[] = {{Layout::kNN, {11.5, 11, 21.5, 27}},
                                             {Layout::kNT, {10.5, 11.5, 19.5, 28.5}},
                                             {Layout::kTN, {15, 15, 19, 24}}};
  for (const auto& [layout, want] : wants) {
    Matrix d(4);
    scaled_product_reference<double>(layout, 2, 2, 2, 0.5, a.data(), b.data(), 2, c.data(),
                                     d.data());
    CHECK(d == want);
  }
}

TEST_CASE("Newton-Schulz keeps singular vectors and sends singular values near 1",
          "[kernels][optimizer]") {
  // Values that span the range in which five steps reach 1: of the norm, s / |s| from 0.82 down to
  // 0.008.
  const Matrix s{10, 6, 3, 1, 0.3, 0.1};
  double norm = 0;
  for (double x : s) norm += x * x;
  norm = std::sqrt(norm);
  const std::pair<int64_t, int64_t> shapes[] = {{6, 6}, {6, 11}, {11, 6}};
  for (const auto& [rows, cols] : shapes) {
    CAPTURE(rows, cols);
    const Matrix u = orthogonal(rows, 0.7), v = orthogonal(cols, 1.1);
    const Matrix got = newton_schulz(rows, cols, from_svd(rows, cols, u, v, s), 5);
    Matrix values;
    for (double x : s) {
      values.push_back(iterated(x / norm, 5));
      CHECK(values.back() > 0.7);
      CHECK(values.back() < 1.2);
    }
    const Matrix want = from_svd(rows, cols, u, v, values);
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(got[i] == Approx(want[i]).margin(1e-6));
  }
}
