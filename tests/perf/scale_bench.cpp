// What a simulated step costs: DeepSeek-V3 in every tier, one rank per class and every rank, and
// how the cost grows with GPUs, layers and micro-batches. CPU time of one core, the least of some
// repetitions; peak memory is the process's so far.
//
// compile: the plan, the load skew, the time of each op. simulate: one step from these. steps/s: of
// simulating alone, 1 / simulate. predictions/s: of predict(), which compiles, verifies, times,
// simulates and reports; reading the experiment is not in any of them.
//
// Options: --unfold (also all 2,048 ranks: half a minute), --repetitions=N.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "sim/study/analytic.h"
#include "sim/study/predict.h"

namespace orrery {
namespace {

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

double peak_GiB() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  return static_cast<double>(u.ru_maxrss) / 1048576;  // KiB
}

struct Options {
  int repetitions = 5;
  bool unfold = false;
};

StudySpec study(const std::vector<std::string>& overrides = {}) {
  const std::string root = ORRERY_SOURCE_DIR;
  return load_study(root + "/experiments/deepseek_v3", overrides, root);
}

struct Cost {
  double compile = std::numeric_limits<double>::infinity();
  double simulate = compile;
  int64_t events = 0, skipped = 0;
  double total() const { return compile + simulate; }
};

// Compiling (skew and timing included) and simulating.
Cost measure(const StudySpec& s, int repetitions, SimOptions o) {
  Cost c;
  for (int i = 0; i < repetitions; ++i) {
    const double start = cpu_seconds();
    const CompiledStudy compiled = compile_study(s);
    const double middle = cpu_seconds();
    const StepTrace t = simulate(compiled.plan, compiled.timing, o);
    const double end = cpu_seconds();
    c.compile = std::min(c.compile, middle - start);
    c.simulate = std::min(c.simulate, end - middle);
    c.events = t.events, c.skipped = t.skipped_events;
  }
  return c;
}

void print(const char* name, const Cost& c) {
  fmt::print("{:<34} {:>9.1f} {:>9.1f} {:>9.1f} {:>12} {:>10.2f} {:>9.1f} {:>8.2f}\n", name,
             1e3 * c.compile, 1e3 * c.simulate, 1e3 * c.total(), c.events,
             static_cast<double>(c.events - c.skipped) / c.simulate / 1e6, 1 / c.simulate,
             peak_GiB());
  std::fflush(stdout);
}

void steps(const Options& options) {
  fmt::print("{:<34} {:>9} {:>9} {:>9} {:>12} {:>10} {:>9} {:>8}\n", "DeepSeek-V3, 2,048 GPUs",
             "compile", "simulate", "total ms", "events", "M events/s", "steps/s", "peak GiB");
  const StudySpec s = study();
  SimOptions o = sim_options(s);
  print("flow", measure(s, options.repetitions, o));
  o.fast_forward = false;
  print("flow, no fast-forward", measure(s, options.repetitions, o));
  o.mirror = false;
  print("flow, every class, no fast-fwd", measure(s, options.repetitions, o));
  if (!options.unfold) return;
  o.folding = Folding::kUnfolded;
  print("flow, every rank, no fast-forward", measure(s, 1, o));
  o.fast_forward = true;
  print("flow, every rank", measure(s, 1, o));
}

// As a sweep over a constant of the hardware has it: every time another one.
void predictions(const Options& options) {
  StudySpec s = study();
  const auto measure = [&](VerifiedPlans* verified) {
    double best = std::numeric_limits<double>::infinity();
    PredictOptions o;
    o.verified = verified;
    for (int i = 0; i <= options.repetitions; ++i) {
      s.cluster.node.gpu.hbm_bandwidth_GBps.value *= 1.0001;
      const double start = cpu_seconds();
      predict(s, o);
      best = std::min(best, cpu_seconds() - start);
    }
    return best;
  };
  VerifiedPlans verified;
  const double alone = measure(nullptr), in_sweep = measure(&verified);
  fmt::print(
      "\npredict(): {:.1f} ms = {:.1f} predictions/s; in a sweep, which verifies equal plans once, "
      "{:.1f} ms = {:.1f} predictions/s\n",
      1e3 * alone, 1 / alone, 1e3 * in_sweep, 1 / in_sweep);
}

void analytic(const Options& options) {
  const StudySpec s = study();
  double make = std::numeric_limits<double>::infinity(), each = make, shape = make;
  double sum = 0;
  constexpr int kPlans = 20000;
  for (int r = 0; r < options.repetitions; ++r) {
    const double start = cpu_seconds();
    const AnalyticCosts costs(s);
    const double made = cpu_seconds();
    const ScheduleShape of_plan = schedule_shape(s.plan);
    const double shaped = cpu_seconds();
    PlanSpec plan = s.plan;
    for (int i = 0; i < kPlans; ++i) {
      // Another split each time: a layer moves from one stage to another.
      const auto from = static_cast<std::size_t>(1 + i % 13), to = from + 1;
      --plan.layers_per_stage[from], ++plan.layers_per_stage[to];
      sum += costs.step(plan, of_plan).step_s;
      ++plan.layers_per_stage[from], --plan.layers_per_stage[to];
    }
    const double end = cpu_seconds();
    make = std::min(make, made - start);
    shape = std::min(shape, shaped - made);
    each = std::min(each, (end - shaped) / kPlans);
  }
  fmt::print(
      "\nAnalytic tier: layer costs {:.1f} ms once, schedule {:.3f} ms once, then {:.2f} us a plan "
      "= {:.0f} plans/s (mean bound {:.3f} s)\n",
      1e3 * make, 1e3 * shape, 1e6 * each, 1 / each,
      sum / kPlans / static_cast<double>(options.repetitions));
}

// Slope of log(y) over log(x), least squares.
double exponent(const std::vector<double>& x, const std::vector<double>& y) {
  double mx = 0, my = 0, xx = 0, xy = 0;
  const auto n = static_cast<double>(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) mx += std::log(x[i]) / n, my += std::log(y[i]) / n;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += (std::log(x[i]) - mx) * (std::log(x[i]) - mx);
    xy += (std::log(x[i]) - mx) * (std::log(y[i]) - my);
  }
  return xy / xx;
}

template <class Overrides>
void growth(const char* name, const std::vector<int64_t>& sizes, const Options& options,
            bool fast_forward, Overrides overrides) {
  std::vector<double> x, y;
  fmt::print("{:<40}", name);
  for (int64_t n : sizes) {
    const StudySpec s = study(overrides(n));
    SimOptions o = sim_options(s);
    o.fast_forward = fast_forward;
    x.push_back(static_cast<double>(n));
    y.push_back(measure(s, options.repetitions, o).total());
    fmt::print(" {:>7}: {:>6.1f}", n, 1e3 * y.back());
    std::fflush(stdout);
  }
  fmt::print("   exponent {:.2f}\n", exponent(x, y));
}

void growths(const Options& options) {
  fmt::print("\nGrowth of compile + simulate, ms (cost ~ size^exponent)\n");
  const auto gpus = [](int64_t n) {
    return std::vector<std::string>{fmt::format("/cluster/nodes={}", n / 8),
                                    fmt::format("/plan/data_parallel={}", n / 16),
                                    fmt::format("/plan/global_batch={}", n / 16 * 120)};
  };
  const auto layers = [](int64_t n) {
    std::string split;
    for (int i = 0; i < 16; ++i) split += fmt::format("{}{}", i == 0 ? "" : ",", n / 16);
    return std::vector<std::string>{fmt::format("/model/num_hidden_layers={}", n),
                                    fmt::format("/plan/layers_per_stage=[{}]", split)};
  };
  const auto batches = [](int64_t n) {
    return std::vector<std::string>{fmt::format("/plan/global_batch={}", 128 * n)};
  };
  growth("GPUs (data parallel)", {2048, 8192, 32768, 131072}, options, true, gpus);
  growth("layers", {16, 32, 64, 128}, options, true, layers);
  const std::vector<int64_t> many = {60, 120, 240, 480, 960};
  growth("micro-batches a pipeline", many, options, true, batches);
  growth("micro-batches, no fast-forward", many, options, false, batches);
}

int run(int argc, char** argv) {
  Options options;
  constexpr std::string_view kRepetitions = "--repetitions=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view a = argv[i];
    if (a == "--unfold")
      options.unfold = true;
    else if (a.starts_with(kRepetitions))
      options.repetitions = std::max(1, std::atoi(a.substr(kRepetitions.size()).data()));
    else
      return fmt::print(stderr, "usage: {} [--unfold] [--repetitions=N]\n", argv[0]), 64;
  }
  steps(options);
  predictions(options);
  analytic(options);
  growths(options);
  return 0;
}

}  // namespace
}  // namespace orrery

int main(int argc, char** argv) { return orrery::run(argc, argv); }
