// The analytic tier bounds the simulation from below.
#include "sim/study/analytic.h"

#include <fmt/format.h>

#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

double flow(const StudySpec& s) {
  const CompiledStudy c = compile_study(s);
  return seconds(simulate(c.plan, c.timing, sim_options(s)).step);
}

// Rounding to picoseconds, which the simulation does once per op and change of rate.
constexpr double kRounding = 1e-7;

// SplitMix64.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t h = state += 0x9e3779b97f4a7c15ULL;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
    return h ^ (h >> 31);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  int64_t of(std::initializer_list<int64_t> v) {
    return v.begin()[below(static_cast<int64_t>(v.size()))];
  }
};

}  // namespace

TEST_CASE("The analytic tier is a lower bound of the simulation", "[study]") {
  const uint64_t seed = 20240607;
  Random random{seed};
  for (int i = 0; i < 12; ++i) {
    const int64_t pp = random.of({1, 2, 4}), ep = random.of({1, 2, 4}), per = 2 * random.below(8);
    std::string split;
    int64_t layers = 0;
    for (int64_t s = 0; s < pp; ++s) {
      const int64_t n = 1 + random.below(3);
      layers += n;
      split += fmt::format("{}{}", s == 0 ? "" : ",", n);
    }
    std::vector<std::string> o = {
        fmt::format("/model/num_hidden_layers={}", layers),
        fmt::format("/plan/pipeline_parallel={}", pp),
        fmt::format("/plan/expert_parallel={}", ep),
        fmt::format("/plan/layers_per_stage=[{}]", split),
        fmt::format("/cluster/nodes={}", pp),
        fmt::format("/plan/data_parallel={}", 8),
        fmt::format("/plan/global_batch={}", 8 * (2 * pp + per)),
        fmt::format("/plan/sequence_length={}", random.of({256, 1024, 4096})),
        fmt::format("/plan/precision={}", random.below(2) == 0 ? "fp8" : "bf16"),
        fmt::format("/plan/overlap_expert_parallel={}", random.below(2) == 0 ? "true" : "false"),
        fmt::format(
            "/plan/schedule={}",
            kScheduleNames[static_cast<std::size_t>(random.below(std::size(kScheduleNames)))])};
    std::string name;
    for (const std::string& x : o) name += x + " ";
    CAPTURE(seed, i, name);
    StudySpec s;
    try {
      s = small_cluster(o);
    } catch (const Infeasible&) {
      continue;  // not every schedule takes every number of ranks
    }
    const double bound = analytic_step(s).step_s, simulated = flow(s);
    CHECK(bound <= simulated * (1 + kRounding));
    CHECK(bound > 0.5 * simulated);
  }
}

TEST_CASE("The analytic tier bounds DeepSeek-V3's step closely", "[study]") {
  for (const char* schedule : {"/plan/schedule=dualpipe", "/plan/schedule=1f1b"}) {
    const StudySpec s = deepseek({schedule});
    const double bound = analytic_step(s).step_s, simulated = flow(s);
    CAPTURE(schedule);
    CHECK(bound <= simulated);
    CHECK(bound > 0.85 * simulated);
  }
}

TEST_CASE("Costs of one plan hold for another split, batch and schedule", "[study]") {
  const StudySpec s = small_cluster();
  const AnalyticCosts costs(s);
  const StudySpec other = small_cluster(
      {"/plan/layers_per_stage=[1,2,2,1]", "/plan/global_batch=96", "/plan/schedule=1f1b"});
  const AnalyticStep a = costs.step(other.plan, schedule_shape(other.plan));
  const AnalyticStep b = analytic_step(other);
  CHECK(a.step_s == Approx(b.step_s).epsilon(1e-12));
  CHECK(a.step_s <= flow(other));
}

TEST_CASE("The shape of a schedule counts its calls", "[study]") {
  // 1F1B, 4 ranks, 16 micro-batches: 16 forwards and 16 backwards in full on every rank.
  const StudySpec s = small_cluster({"/plan/schedule=1f1b", "/plan/overlap_expert_parallel=false"});
  for (const ScheduleShape::Rank& r : schedule_shape(s.plan).ranks) {
    CHECK(r.forward == std::vector<int64_t>{16});
    CHECK(r.backward == std::vector<int64_t>{16});
    CHECK(r.last_in_full);
  }
}
