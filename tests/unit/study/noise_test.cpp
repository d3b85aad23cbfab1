#include "sim/study/noise.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

StudySpec noisy(const NoiseSpec& n) {
  StudySpec s = small_cluster();
  s.noise = n;
  return s;
}

Prediction run(const StudySpec& s, Folding folding = Folding::kFolded) {
  PredictOptions o;
  o.allow_oom = true;
  o.folding = folding;
  return predict(s, o);
}

NoiseSpec expert_load(double exponent) {
  NoiseSpec n;
  n.has_expert_load = true;
  n.distribution = ExpertDistribution::kZipf;
  n.exponent = exponent;
  return n;
}

}  // namespace

TEST_CASE("Expert loads follow the distribution and have mean 1", "[study]") {
  NoiseSpec n = expert_load(1);
  // Four experts on four ranks, Zipf 1: popularity 1, 1/2, 1/3, 1/4 over their sum 25/12, times 4.
  std::vector<double> loads = expert_loads(n, 4, 4, 0);
  std::sort(loads.rbegin(), loads.rend());
  for (std::size_t k = 0; k < 4; ++k)
    CHECK(loads[k] == Approx(4 * 12.0 / 25 / static_cast<double>(k + 1)));
  // Two of the four on each of two ranks: still mean 1. Another layer, another order.
  loads = expert_loads(n, 64, 8, 3);
  CHECK(std::accumulate(loads.begin(), loads.end(), 0.0) == Approx(8));
  CHECK(loads != expert_loads(n, 64, 8, 4));
  CHECK(loads == expert_loads(n, 64, 8, 3));
  n.distribution = ExpertDistribution::kHistogram;
  n.tokens = {30, 10, 0, 0};
  loads = expert_loads(n, 4, 2, 0);
  CHECK(loads[0] + loads[1] == Approx(2));
  n.distribution = ExpertDistribution::kUniform;
  CHECK(expert_loads(n, 64, 8, 0) == std::vector<double>(8, 1));
}

TEST_CASE("Noise that changes nothing costs nothing", "[study]") {
  NoiseSpec n;
  n.has_expert_load = true;  // uniform
  n.slow_ranks = {{3, 1, 1}};
  const Prediction p = run(noisy(n));
  REQUIRE(p.noise);
  CHECK(p.trace.step == p.noise->without);
  for (const NoiseCost& c : p.noise->parts) CHECK(c.step == p.noise->without);
}

TEST_CASE("More skew costs more, and each kind of noise is accounted for", "[study]") {
  Picos last;
  for (double exponent : {0.0, 0.2, 0.5, 1.0}) {
    const Prediction p = run(noisy(expert_load(exponent)));
    CAPTURE(exponent);
    CHECK(p.trace.step >= last);
    last = p.trace.step;
  }
  NoiseSpec n = expert_load(0.5);
  n.op_jitter = 0.05;
  n.slow_ranks = {{5, 1.5, 1}};
  n.slow_nodes = {{1, 1, 3}};
  const Prediction p = run(noisy(n));
  REQUIRE(p.noise->parts.size() == 4);
  for (const NoiseCost& c : p.noise->parts) {
    CAPTURE(c.name);
    CHECK(c.step > p.noise->without);
    CHECK(p.trace.step >= c.step);
  }
  CHECK(run(noisy(n)).trace.step == p.trace.step);  // seeded
  n.seed = 2;
  CHECK(run(noisy(n)).trace.step != p.trace.step);
}

TEST_CASE("A straggler slows its pipeline by at most its own factor", "[study]") {
  NoiseSpec n;
  n.slow_ranks = {{0, 2, 1}};
  const Prediction p = run(noisy(n));
  CHECK(p.trace.step > p.noise->without);
  CHECK(p.trace.step < 2 * p.noise->without);
}

TEST_CASE("Sampling all ranks is simulating all ranks", "[study]") {
  // 4 replicas: one expert group of 4.
  NoiseSpec n = expert_load(0.5);
  n.simulated_ranks = 4;
  const Prediction sampled = run(noisy(n)), all = run(noisy(n), Folding::kUnfolded);
  CHECK(sampled.noise->simulated_ranks == 4);
  CHECK(sampled.trace.step == all.trace.step);
}

TEST_CASE("A slow rank that does not exist is named", "[study]") {
  NoiseSpec n;
  n.slow_ranks = {{16, 2, 1}};
  CHECK(contains(error_of([&] { run(noisy(n)); }), "rank 16 is slow, but the plan has 16"));
}

TEST_CASE("The experiment's noise object is read, and its mistakes are named", "[study]") {
  Diagnostics d;
  const json::Node root = json::parse_json(
      R"({"seed": 7, "expert_load": {"distribution": "zipf", "exponent": 0.3}, "op_jitter": 0.02,
          "slow_ranks": [{"rank": 5, "compute": 1.2}], "slow_nodes": [{"node": 3, "network": 2}]})",
      "noise.json");
  const NoiseSpec n = read_noise(json::Reader(root, "/noise", d));
  CHECK(d.empty());
  CHECK(n.any());
  CHECK(n.seed == 7);
  CHECK(n.exponent == 0.3);
  REQUIRE(n.slow_ranks.size() == 1);
  CHECK(n.slow_ranks[0].compute == 1.2);
  CHECK(n.slow_ranks[0].network == 1);
  CHECK(n.slow_nodes[0].index == 3);
  const json::Node bad = json::parse_json(
      R"({"expert_load": {"distribution": "zip"}, "op_jitter": 2, "slow_ranks": [{"compute": 0.5}]})",
      "noise.json");
  Diagnostics found;
  read_noise(json::Reader(bad, "/noise", found));
  const std::string text = error_of([&] { found.throw_if_any(); });
  for (const char* part : {"zipf", "op_jitter", "\"rank\"", "compute"}) CHECK(contains(text, part));
}
