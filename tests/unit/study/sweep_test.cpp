#include "sim/study/sweep.h"

#include <fmt/format.h>

#include "sim/report/sweep.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

SweepSpec small_sweep() {
  SweepSpec s;
  s.experiment = std::string(kSourceDir) + "/experiments/tiny_moe_4_ranks";
  s.axes = {parse_axis("/plan/global_batch=8,16,32"), parse_axis("/plan/schedule=1f1b,dualpipe,x"),
            parse_axis("/plan/layers_per_stage=[2,2],[3,1],[4,1]")};
  return s;
}

std::vector<SweepPoint> run(SweepSpec s, int threads) {
  s.threads = threads;
  return sweep(s, kSourceDir);
}

}  // namespace

TEST_CASE("An axis is a pointer and values, split outside brackets and quotes", "[study]") {
  const SweepAxis a = parse_axis("/plan/layers_per_stage=[4,4],[5,3]");
  CHECK(a.pointer == "/plan/layers_per_stage");
  CHECK(a.values == std::vector<std::string>{"[4,4]", "[5,3]"});
  CHECK(parse_axis("/a=\"x,y\",z").values == std::vector<std::string>{"\"x,y\"", "z"});
  for (const char* bad : {"", "plan/x=1", "/plan/x", "/plan/x="})
    CHECK(contains(error_of([&] { parse_axis(bad); }), "expected /json/pointer="));
}

TEST_CASE("A sweep's output is the same for any number of threads", "[study]") {
  const SweepSpec s = small_sweep();
  const std::vector<SweepPoint> one = run(s, 1);
  REQUIRE(one.size() == 27);
  for (int threads : {2, 3}) {
    const std::vector<SweepPoint> more = run(s, threads);
    CHECK(sweep_json(s, more) == sweep_json(s, one));
    CHECK(sweep_csv(s, more) == sweep_csv(s, one));
  }
}

TEST_CASE("A sweep runs the last axis fastest and says what cannot run", "[study]") {
  const std::vector<SweepPoint> p = run(small_sweep(), 2);
  CHECK(p[0].values == std::vector<std::string>{"8", "1f1b", "[2,2]"});
  CHECK(p[1].values == std::vector<std::string>{"8", "1f1b", "[3,1]"});
  CHECK(p[9].values == std::vector<std::string>{"16", "1f1b", "[2,2]"});
  CHECK(p[0].outcome == SweepPoint::Outcome::kFits);
  CHECK(p[0].step_time_s > 0);
  CHECK(p[9].step_time_s > p[0].step_time_s);  // twice the micro-batches
  // Five layers of four: the plan cannot run. A schedule that does not exist is no value.
  CHECK(p[2].outcome == SweepPoint::Outcome::kInfeasible);
  CHECK(contains(p[2].note, "layers_per_stage"));
  CHECK(p[6].outcome == SweepPoint::Outcome::kInvalid);
  CHECK(contains(p[6].note, "schedule"));
}

TEST_CASE("An analytic sweep bounds the simulated one", "[study]") {
  SweepSpec s = small_sweep();
  const std::vector<SweepPoint> flow = run(s, 2);
  s.fidelity = Fidelity::kAnalytic;
  const std::vector<SweepPoint> bound = run(s, 2);
  for (std::size_t i = 0; i < flow.size(); ++i) {
    CAPTURE(i);
    CHECK(flow[i].simulated() == bound[i].simulated());
    CHECK(bound[i].step_time_s <= flow[i].step_time_s);
  }
}
