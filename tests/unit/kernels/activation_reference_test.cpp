#include "kernels/activation/swiglu_reference.h"
#include "tests/catch.h"
#include "tests/unit/kernels/gradient.h"

using namespace orrery::kernels;
using test::central_difference;
using test::normal_values;

namespace {

constexpr std::size_t kRows = 3, kW = 4;

// <dact, k · swiglu(gate_up)> with a weight k per row.
double weighted(const std::vector<double>& gate_up, const std::vector<double>& row_weight,
                const std::vector<double>& dact) {
  std::vector<double> act(kRows * kW);
  swiglu_reference(kRows, kW, gate_up.data(), act.data());
  double sum = 0;
  for (std::size_t i = 0; i < act.size(); ++i) sum += row_weight[i / kW] * dact[i] * act[i];
  return sum;
}

}  // namespace

TEST_CASE("swiglu multiplies silu of the gate by the other half", "[kernels][activation]") {
  // sigmoid(ln 3) = 1 / (1 + 1/3) = 3/4; sigmoid(0) = 1/2; exp(1000) overflows to a sigmoid of 0.
  const double ln3 = std::log(3.0);
  const std::vector<double> gate_up{ln3, 0, -1000, 8, 5, 5};
  std::vector<double> out(3);
  swiglu_reference(1, 3, gate_up.data(), out.data());
  CHECK(out[0] == Approx(ln3 * 0.75 * 8));
  CHECK(out[1] == 0);
  CHECK(out[2] == 0);
}

TEST_CASE("swiglu_backward is the gradient of the weighted swiglu", "[kernels][activation]") {
  std::vector<double> gate_up = normal_values(kRows * 2 * kW, 1);
  const std::vector<double> dact = normal_values(kRows * kW, 2), k{0.5, 0, -2};
  std::vector<double> dgate_up(gate_up.size()), act_out(kRows * kW), act(kRows * kW);
  swiglu_backward_reference(kRows, kW, gate_up.data(), dact.data(), k.data(), act_out.data(),
                            dgate_up.data());
  for (std::size_t i = 0; i < gate_up.size(); ++i) {
    const auto f = [&] { return weighted(gate_up, k, dact); };
    CHECK(dgate_up[i] == Approx(central_difference(gate_up, i, f)).epsilon(1e-6).margin(1e-12));
  }
  swiglu_reference(kRows, kW, gate_up.data(), act.data());
  for (std::size_t i = 0; i < act.size(); ++i) CHECK(act_out[i] == Approx(k[i / kW] * act[i]));

  // Without weights and act_out: the gradient for weights of 1.
  const std::vector<double> ones(kRows, 1);
  swiglu_backward_reference<double>(kRows, kW, gate_up.data(), dact.data(), nullptr, nullptr,
                                    dgate_up.data());
  for (std::size_t i = 0; i < gate_up.size(); ++i) {
    const auto f = [&] { return weighted(gate_up, ones, dact); };
    CHECK(dgate_up[i] == Approx(central_difference(gate_up, i, f)).epsilon(1e-6));
  }
}

TEST_CASE("swiglu_weight_backward is the gradient of the row weights", "[kernels][activation]") {
  const std::vector<double> gate_up = normal_values(kRows * 2 * kW, 1);
  const std::vector<double> dact = normal_values(kRows * kW, 2);
  std::vector<double> k{0.5, 1.5, -2}, act(kRows * kW), unused(kRows * 2 * kW);
  swiglu_backward_reference(kRows, kW, gate_up.data(), dact.data(), k.data(), act.data(),
                            unused.data());
  const std::vector<int32_t> slot{2, -1, 0};
  std::vector<double> out(3, 7);
  swiglu_weight_backward_reference(kRows, kW, act.data(), dact.data(), k.data(), slot.data(),
                                   out.data());
  const auto f = [&] { return weighted(gate_up, k, dact); };
  CHECK(out[2] == Approx(central_difference(k, 0, f)).epsilon(1e-6));
  CHECK(out[1] == 7);  // no row has slot 1
  CHECK(out[0] == Approx(central_difference(k, 2, f)).epsilon(1e-6));
  k[0] = 0;
  swiglu_weight_backward_reference(kRows, kW, act.data(), dact.data(), k.data(), slot.data(),
                                   out.data());
  CHECK(out[2] == 0);
}
