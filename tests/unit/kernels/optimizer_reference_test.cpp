#include <vector>

#include "kernels/optimizer/adamw_reference.h"
#include "tests/catch.h"

using namespace orrery::kernels;

TEST_CASE("sum_squares", "[kernels][optimizer]") {
  const std::vector<double> x{1, -2, 3};
  CHECK(sum_squares_reference(3, x.data(), 0.5) == Approx(0.5 * 14));
  CHECK(sum_squares_reference<double>(0, nullptr, 1) == 0);
}

TEST_CASE("the first step of AdamW moves by the learning rate", "[kernels][optimizer]") {
  // m = 0.1·g and v = 0.05·g², corrected to g and g²: every step is lr·g / (|g| + eps).
  std::vector<double> master{1, 2}, m(2), v(2), weights(2);
  const std::vector<double> grads{4, -0.5};
  const std::vector<uint8_t> decay{1};
  AdamWReference<double> p;
  p.n = 2;
  p.master = master.data(), p.m = m.data(), p.v = v.data(), p.weights_out = weights.data();
  p.grads = grads.data(), p.decay = decay.data();
  p.lr = 0.01, p.beta1 = 0.9, p.beta2 = 0.95, p.eps = 0, p.weight_decay = 0.1, p.step = 1;
  adamw_reference(p);
  // Decay: 1 - 0.01·0.1 = 0.999 of the weight.
  CHECK(master[0] == Approx(1 * 0.999 - 0.01));
  CHECK(master[1] == Approx(2 * 0.999 + 0.01));
  CHECK(m[0] == Approx(0.4));
  CHECK(v[0] == Approx(0.8));
  CHECK(m[1] == Approx(-0.05));
  CHECK(v[1] == Approx(0.0125));
  CHECK(weights == master);

  // Second step with the same gradient: m = 0.9·0.4 + 0.1·4 = 0.76, corrected by 1 - 0.81 = 0.19 to
  // 4; v = 0.95·0.8 + 0.05·16 = 1.56, corrected by 1 - 0.9025 = 0.0975 to 16.
  p.step = 2;
  const double before = master[0];
  adamw_reference(p);
  CHECK(m[0] == Approx(0.76));
  CHECK(v[0] == Approx(1.56));
  CHECK(master[0] == Approx(before * 0.999 - 0.01));
}

TEST_CASE("AdamW with history, epsilon, clipping and no decay", "[kernels][optimizer]") {
  // Norm 8, clipped to 2: the gradient 16 becomes 16·2/8 = 4 (1e-6 in the norm is below the
  // tolerance).
  double master = 3, m = 0.5, v = 0.25;
  const double grad = 16, norm_squared = 64;
  const uint8_t decay = 0;
  AdamWReference<double> p;
  p.n = 1, p.master = &master, p.m = &m, p.v = &v, p.grads = &grad, p.decay = &decay;
  p.lr = 0.1, p.beta1 = 0.5, p.beta2 = 0.75, p.eps = 1, p.weight_decay = 0.9, p.step = 2;
  p.norm_squared = &norm_squared, p.max_norm = 2;
  adamw_reference(p);
  // m = 0.5·0.5 + 0.5·4 = 2.25, corrected by 1 - 0.25 to 3;
  // v = 0.75·0.25 + 0.25·16 = 4.1875, corrected by 1 - 0.5625 to 9.5714286, root 3.0937725.
  CHECK(m == Approx(2.25).epsilon(1e-6));
  CHECK(v == Approx(4.1875).epsilon(1e-6));
  CHECK(master == Approx(3 - 0.1 * 3 / 4.0937725).epsilon(1e-6));
  // A norm below the limit leaves the gradient alone: m = 0.5·2.25 + 0.5·16.
  p.max_norm = 9;
  adamw_reference(p);
  CHECK(m == Approx(9.125).epsilon(1e-6));
}

TEST_CASE("each 128 parameters have their decay flag", "[kernels][optimizer]") {
  std::vector<double> master(130, 1), m(130), v(130);
  const std::vector<double> grads(130);
  const std::vector<uint8_t> decay{0, 1};
  AdamWReference<double> p;
  p.n = 130, p.master = master.data(), p.m = m.data(), p.v = v.data();
  p.grads = grads.data(), p.decay = decay.data();
  p.lr = 0.5, p.weight_decay = 0.5;
  adamw_reference(p);
  CHECK(master[127] == 1);
  CHECK(master[128] == 0.75);
}

TEST_CASE("the router's bias moves towards the mean load", "[kernels][optimizer]") {
  const std::vector<double> load{1, 3, 5, 3};  // mean 3
  std::vector<double> bias{0, 1, 2, 3};
  router_bias_update_reference(4, load.data(), bias.data(), 0.25);
  CHECK(bias == std::vector<double>{0.25, 1, 1.75, 3});
  // Thirds: 1/3 is not exact, the comparison still is.
  const std::vector<float> thirds{1, 1, 1};
  std::vector<float> biases(3);
  router_bias_update_reference(3, thirds.data(), biases.data(), 0.5F);
  CHECK(biases == std::vector<float>(3));
}
