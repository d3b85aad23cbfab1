#include "sim/study/spread.h"

#include <cmath>
#include <random>

#include "tests/catch.h"

using namespace orrery;

namespace {

RunResidual row(const char* stack, const char* gpu, double ln_ratio, bool fitted = false) {
  RunResidual r;
  r.run = std::string(stack) + gpu + std::to_string(ln_ratio);
  r.stack = stack;
  r.gpu = gpu;
  r.ln_ratio = r.ln_unfitted = ln_ratio;
  r.stack_fitted = fitted;
  return r;
}

// Means: A on x 0.12, A on y 0.04, B on x -0.03; A 0.08, B -0.03.
std::vector<RunResidual> two_stacks() {
  return {row("A", "x", 0.10), row("A", "x", 0.14),  row("A", "y", 0.02),
          row("A", "y", 0.06), row("B", "x", -0.05), row("B", "x", -0.01)};
}

NewRun of(const char* stack, const char* gpu, bool fitted = false) {
  NewRun n;
  n.stack = stack, n.gpu = gpu, n.stack_fitted = fitted;
  return n;
}

}  // namespace

TEST_CASE("Variances are those of the nested analysis of variance", "[study][interval]") {
  const Spread s = estimate_spread(two_stacks());
  REQUIRE(s.known());
  CHECK(s.runs == 6);
  CHECK(s.stacks == 2);
  // Six deviations of 0.02: 0.0024 over (4 - 2) + (2 - 1) = 3 degrees of freedom.
  CHECK(s.run.dof == 3);
  CHECK(s.run.variance == Approx(0.0008));
  // A's GPUs: 2 x 0.04^2 + 2 x 0.04^2 = 0.0064, less 1 x 0.0008, over 6 - (4 + 4)/4 - 4/2 = 2.
  CHECK(s.gpu.dof == 1);
  CHECK(s.gpu.variance == Approx(0.0028));
  // Stack means 0.08 and -0.03: S^2 = 2 x 0.055^2 = 0.00605, less the mean of
  // A: 0.0028 x (4 + 4)/16 + 0.0008/4 = 0.0016 and B: 0.0028 + 0.0008/2 = 0.0032, which is 0.0024.
  CHECK(s.stack.dof == 1);
  CHECK(s.stack.variance == Approx(0.00365));
  CHECK(s.mean == Approx(0.025));
  CHECK(s.mean_variance == Approx(0.003025));
}

TEST_CASE("A fitted step speed costs its stack a degree of freedom", "[study][interval]") {
  std::vector<RunResidual> rows = two_stacks();
  for (RunResidual& r : rows) r.stack_fitted = r.stack == "A";
  const Spread s = estimate_spread(rows);
  CHECK(s.run.dof == 2);
  CHECK(s.run.variance == Approx(0.0012));
}

TEST_CASE("Between stacks counts what they are before their fits", "[study][interval]") {
  std::vector<RunResidual> rows = two_stacks();
  for (RunResidual& r : rows) r.stack_fitted = true, r.ln_unfitted = r.ln_ratio + 0.1;
  CHECK(estimate_spread(rows).mean == Approx(0.125));
}

TEST_CASE("Too few runs give no spread", "[study][interval]") {
  CHECK(!estimate_spread({}).known());
  const std::vector<RunResidual> one = {row("A", "x", 0.1), row("A", "x", 0.2)};
  CHECK(!estimate_spread(one).known());  // one stack
  const std::vector<RunResidual> single = {row("A", "x", 0.1), row("B", "x", 0.2)};
  CHECK(!estimate_spread(single).known());  // no stack with two runs
}

TEST_CASE("A run of an unknown stack is a draw from all stacks", "[study][interval]") {
  const std::vector<RunResidual> rows = two_stacks();
  const Predictive p = predictive(estimate_spread(rows), rows, of("C", "x"));
  CHECK(p.centre == Approx(0.025));
  CHECK(p.stack_part == Approx(0.00365 + 0.003025));
  CHECK(p.gpu_part == Approx(0.0028));
  CHECK(p.run_part == Approx(0.0008));
  CHECK(p.variance == Approx(0.010275));
  // 0.010275^2 / (0.006675^2 / 1 + 0.0028^2 / 1 + 0.0008^2 / 3) = 1.05576e-4 / 5.26093e-5.
  CHECK(p.dof == Approx(2.0068).epsilon(1e-4));
  CHECK(p.stack_runs == 0);
  // A step_speed set by hand says that the prediction is right on average.
  NewRun by_hand = of("C", "x");
  by_hand.at_prior = false;
  CHECK(predictive(estimate_spread(rows), rows, by_hand).centre == 0);
}

TEST_CASE("The runs of a stack narrow its prediction", "[study][interval]") {
  const std::vector<RunResidual> rows = two_stacks();
  const Spread s = estimate_spread(rows);
  // B on another GPU: the mean on x has variance 0.0028 + 0.0008/2 = 0.0032 about B's effect, whose
  // prior is 0 +- 0.00365; precision 273.973 + 312.5 = 586.473.
  const Predictive other = predictive(s, rows, of("B", "z", true));
  CHECK(other.centre == Approx(-0.03 * 312.5 / 586.473));
  CHECK(other.variance == Approx(1 / 586.473 + 0.0028 + 0.0008));
  CHECK(other.stack_runs == 2);
  CHECK(other.gpu_runs == 0);
  // B on x: prior 0.00365 + 0.0028 = 0.00645, the mean of its two runs 0.0004 about that; weight
  // 0.00645 / 0.00685 = 0.941606, variance 1 / (1/0.00645 + 1/0.0004) + 0.0008.
  const Predictive same = predictive(s, rows, of("B", "x", true));
  CHECK(same.centre == Approx(-0.03 * 0.941606));
  CHECK(same.variance == Approx(0.000376642 + 0.0008));
  CHECK(same.gpu_runs == 2);
  for (const Predictive& p : {other, same})
    CHECK(p.stack_part + p.gpu_part + p.run_part == Approx(p.variance));
  const double width_of_new = predictive(s, rows, of("C", "x", true)).variance;
  CHECK(same.variance < other.variance);
  CHECK(other.variance < width_of_new);
}

TEST_CASE("Every further run narrows a prediction, to the spread of single runs",
          "[study][interval]") {
  Spread s = estimate_spread(two_stacks());
  double before = 1;
  for (int n = 0; n <= 64; ++n) {
    const std::vector<RunResidual> rows(static_cast<std::size_t>(n), row("C", "x", 0.05));
    const double variance = predictive(s, rows, of("C", "x", true)).variance;
    CHECK(variance < before);
    CHECK(variance > s.run.variance);
    before = variance;
  }
  CHECK(before == Approx(s.run.variance).epsilon(0.02));
}

TEST_CASE("An own calibration takes the place of the spread between GPUs", "[study][interval]") {
  const std::vector<RunResidual> rows = two_stacks();
  const Spread s = estimate_spread(rows);
  NewRun run = of("C", "z");
  run.own_gpu = {0.0001, 20};
  CHECK(predictive(s, rows, run).gpu_part == Approx(0.0001));
  run.own_gpu = {};
  run.extra_gpu_variance = 0.0004;
  CHECK(predictive(s, rows, run).gpu_part == Approx(0.0032));
  // Not where runs of the stack were on the GPU.
  run.stack = "B", run.gpu = "x";
  CHECK(predictive(s, rows, run).variance == predictive(s, rows, of("B", "x")).variance);
}

TEST_CASE("Quantiles of Student's t", "[study][interval]") {
  // Tables of the distribution; with one degree of freedom tan(0.45 pi).
  CHECK(student_t_quantile(0.95, 1) == Approx(6.313752).epsilon(1e-6));
  CHECK(student_t_quantile(0.95, 5) == Approx(2.015048).epsilon(1e-6));
  CHECK(student_t_quantile(0.975, 10) == Approx(2.228139).epsilon(1e-6));
  CHECK(student_t_quantile(0.95, 30) == Approx(1.697261).epsilon(1e-6));
  CHECK(student_t_quantile(0.95, 1e7) == Approx(1.644854).epsilon(1e-6));
  Predictive p;
  p.centre = 0.1, p.variance = 0.01, p.dof = 5;
  const auto [low, high] = p.factors(0.9);
  CHECK(low == Approx(std::exp(0.1 - 0.2015048)));
  CHECK(high == Approx(std::exp(0.1 + 0.2015048)));
}

// Data drawn from the model, with the sizes of a set of published runs; a tenth of new runs must
// lie outside, whatever is known of their stack.
TEST_CASE("Intervals cover nine of ten runs of the model itself", "[study][interval]") {
  std::mt19937 random(7);
  const auto normal = [&] {
    const auto uniform = [&] { return (static_cast<double>(random()) + 0.5) / 4294967296.0; };
    return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * 3.14159265358979 * uniform());
  };
  const char* const stacks[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
  int covered[2] = {};
  const int sets = 2000;
  for (int set = 0; set < sets; ++set) {
    std::vector<RunResidual> rows;
    double of_stack = 0, of_gpu = 0;
    for (const char* stack : stacks) {
      of_stack = 0.05 + 0.08 * normal();
      for (const char* gpu : {"x", "y"}) {
        of_gpu = 0.04 * normal();
        if (gpu[0] == 'y' && stack[0] % 2 == 0) continue;
        for (int i = 0; i < 3; ++i)
          rows.push_back(row(stack, gpu, of_stack + of_gpu + 0.06 * normal()));
      }
    }
    const Spread s = estimate_spread(rows);
    // of_stack is that of "j", even: on x alone; of_gpu was drawn for y, where it has no run.
    const double truth[2] = {0.05 + 0.08 * normal() + 0.04 * normal() + 0.06 * normal(),
                             of_stack + of_gpu + 0.06 * normal()};
    const NewRun asked[2] = {of("new", "x"), of("j", "y")};
    for (int i = 0; i < 2; ++i) {
      const auto f = predictive(s, rows, asked[i]).factors(0.9);
      covered[i] += std::log(f.low) <= truth[i] && truth[i] <= std::log(f.high) ? 1 : 0;
    }
  }
  // The standard error of a share of 2000 is 0.7 %; small-sample approximations take the rest.
  for (int i = 0; i < 2; ++i) CHECK(std::abs(covered[i] / static_cast<double>(sets) - 0.9) < 0.03);
}
