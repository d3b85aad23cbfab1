// Kernels of blocks that only some families have, at hand-computed points and against differences.
#include <cmath>
#include <vector>

#include "kernels/activation/clipped_swiglu_reference.h"
#include "kernels/activation/pointwise_reference.h"
#include "kernels/attention/attention_reference.h"
#include "kernels/elementwise/bias_reference.h"
#include "kernels/norm/layer_norm_reference.h"
#include "tests/catch.h"

using namespace orrery::kernels;

TEST_CASE("LayerNorm of 1, 3 with weight 2, 1 and bias 0.5, 0", "[kernels]") {
  // Mean 2, variance 1: xhat = -1, 1.
  const double x[] = {1, 3}, weight[] = {2, 1}, bias[] = {0.5, 0};
  double out[2];
  layer_norm_reference<double>(1, 2, x, nullptr, nullptr, weight, bias, 0, nullptr, out);
  CHECK(out[0] == Approx(-1.5));
  CHECK(out[1] == Approx(1));
  // The sum of the addends is normed and returned: 1 + 1, 3 - 1 have no variance.
  const double add[] = {1, -1};
  double sum[2];
  layer_norm_reference<double>(1, 2, x, add, nullptr, weight, bias, 1e-5, sum, out);
  CHECK(sum[0] == 2);
  CHECK(sum[1] == 2);
  CHECK(out[0] == Approx(0.5));
}

TEST_CASE("Activations at points", "[kernels]") {
  // Phi(1) = 0.841345.
  CHECK(pointwise(Pointwise::kGelu, 1.0) == Approx(0.8413447461));
  CHECK(pointwise(Pointwise::kGelu, -1.0) == Approx(0.8413447461 - 1));
  // tanh(0.7978845608 · 1.044715) = 0.682384.
  CHECK(pointwise(Pointwise::kGeluTanh, 1.0) == Approx(0.8411919906));
  CHECK(pointwise(Pointwise::kSquaredRelu, 3.0) == 9);
  CHECK(pointwise(Pointwise::kSquaredRelu, -3.0) == 0);
  for (const Pointwise f : {Pointwise::kGelu, Pointwise::kGeluTanh, Pointwise::kSquaredRelu})
    for (const double x : {-2.5, -0.3, 0.4, 1.7}) {
      const double h = 1e-6;
      CHECK(pointwise_derivative(f, x) ==
            Approx((pointwise(f, x + h) - pointwise(f, x - h)) / (2 * h)).epsilon(1e-7));
    }
}

TEST_CASE("Clipped SwiGLU clips the gate from above and the other half on both sides",
          "[kernels]") {
  const double gate_up[] = {9, -9, 9, -9};  // gates 9 and -9, others 9 and -9
  double out[2];
  clipped_swiglu_reference<double>(1, 2, 7, gate_up, out);
  CHECK(out[0] == Approx(7 / (1 + std::exp(-1.702 * 7)) * 8));
  CHECK(out[1] == Approx(-9 / (1 + std::exp(1.702 * 9)) * -6));
  const double dact[] = {1, 1};
  double dx[4];
  clipped_swiglu_backward_reference<double>(1, 2, 7, gate_up, dact, nullptr, nullptr, dx);
  CHECK(dx[0] == 0);
  CHECK(dx[1] != 0);
  CHECK(dx[2] == 0);
  CHECK(dx[3] == 0);
}

TEST_CASE("ALiBi's slopes for 4 and for 3 heads", "[kernels]") {
  // 2^-2, 2^-4, 2^-6, 2^-8; of 3 heads those of 2 (2^-4, 2^-8), then the first of 4.
  CHECK(alibi_slope(0, 4) == 0.25);
  CHECK(alibi_slope(3, 4) == 1.0 / 256);
  CHECK(alibi_slope(0, 3) == 1.0 / 16);
  CHECK(alibi_slope(1, 3) == 1.0 / 256);
  CHECK(alibi_slope(2, 3) == 0.25);
}

TEST_CASE("A sink takes weight, a window keys", "[kernels]") {
  // Two tokens, one head of width 1; all scores 0.
  const AttentionShape s{1, 2, 1, 1, 1, 1};
  const double q[] = {0, 0}, k[] = {0, 0}, v[] = {1, 3}, sink[] = {0};
  double out[2], lse[2];
  attention_forward_reference<double>(s, 1, q, 1, k, 1, v, 1, out, 1, lse);
  CHECK(out[1] == Approx(2));
  AttentionScores<double> scores;
  scores.sinks = sink;
  attention_forward_reference<double>(s, 1, q, 1, k, 1, v, 1, out, 1, lse, scores);
  CHECK(out[0] == Approx(0.5));  // itself and the sink
  CHECK(out[1] == Approx(4.0 / 3));
  CHECK(lse[1] == Approx(std::log(3.0)));
  scores = {};
  scores.window = 1;
  attention_forward_reference<double>(s, 1, q, 1, k, 1, v, 1, out, 1, lse, scores);
  CHECK(out[1] == Approx(3));
}

TEST_CASE("Dropout of probabilities scales what is kept", "[kernels]") {
  // Two tokens, one head of width 1, all scores 0; the second token's 1/2, 1/2 become 1, 0.
  const AttentionShape s{1, 2, 1, 1, 1, 1};
  const double q[] = {0, 0}, k[] = {5, 7}, v[] = {1, 3}, factors[] = {2, 2, 2, 0};
  double out[2], lse[2];
  AttentionScores<double> scores;
  scores.dropout = factors;
  attention_forward_reference<double>(s, 1, q, 1, k, 1, v, 1, out, 1, lse, scores);
  CHECK(out[0] == Approx(2));  // 1 doubled
  CHECK(out[1] == Approx(1));
  CHECK(lse[1] == Approx(std::log(2.0)));
  const double dout[] = {0, 1};
  double dq[2], dk[2], dv[2];
  attention_backward_reference<double>(s, 1, q, 1, k, 1, v, 1, out, 1, dout, 1, lse, dq, 1, dk, 1,
                                       dv, 1, scores);
  CHECK(dv[0] == Approx(1));
  CHECK(dv[1] == 0);
  // Gradients of the second token's scores: P · (factor · v - out) = 1/2 · (2 - 1), 1/2 · (0 - 1).
  CHECK(dq[1] == Approx(0.5 * 5 - 0.5 * 7));
}

TEST_CASE("Bias gradients are column sums, weighted by row where asked", "[kernels]") {
  const double dy[] = {1, 2, 3, 4}, weight[] = {10, 1};
  double grad[] = {100, 0};
  bias_backward_reference<double>(2, 2, dy, nullptr, grad);
  CHECK(grad[0] == 104);
  CHECK(grad[1] == 6);
  bias_backward_reference<double>(2, 2, dy, weight, grad);
  CHECK(grad[0] == 117);
  CHECK(grad[1] == 30);
}
