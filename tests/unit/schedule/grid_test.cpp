// Whole plans of every schedule: sound, and ranked as measured.
#include "sim/study/analytic.h"
#include "tests/catch.h"
#include "tests/unit/schedule/uniform.h"

using namespace orrery;

namespace {

ExecPlan compile(const StudySpec& s) {
  return compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
}

double step_of(const StudySpec& s) {
  PredictOptions o;
  o.allow_oom = true;
  return predict(s, o).step_time_s;
}

}  // namespace

TEST_CASE("Plans of every schedule and size are sound", "[schedule]") {
  for (const std::string schedule :
       {"gpipe", "1f1b", "interleaved_1f1b", "zb_h1", "zb_v", "dualpipe", "dualpipe_v"})
    for (const int p : {2, 4, 6}) {
      const bool interleaved = schedule == "interleaved_1f1b";
      const bool v_shaped = schedule == "zb_v" || schedule == "dualpipe_v";
      for (const int v : interleaved ? std::vector{2, 3, 4} : std::vector{v_shaped ? 2 : 1})
        for (const int m : {2 * p, 4 * p}) {
          const std::vector<std::string> findings =
              verify(compile(uniform_pipeline(schedule, p, v, m)));
          CAPTURE(schedule, p, v, m, findings);
          CHECK(findings.empty());
        }
    }
  for (const std::string schedule : {"1f1b", "interleaved_1f1b"}) {
    const int v = schedule == "1f1b" ? 1 : 3;
    CHECK(
        verify(compile(uniform_pipeline(schedule, 4, v, 8, {"/plan/overlap_expert_parallel=true"})))
            .empty());
  }
}

TEST_CASE("The verifier sees a transfer between the wrong micro-batches", "[schedule]") {
  ExecPlan plan = compile(uniform_pipeline("1f1b", 2, 1, 4));
  // The second rank's first two forwards and what they receive change places.
  for (Call& c : plan.classes[1].calls)
    if (c.forward_slot == 0 || c.forward_slot == 1) c.forward_slot = 1 - c.forward_slot;
  const std::vector<std::string> findings = verify(plan);
  REQUIRE_FALSE(findings.empty());
  CHECK(contains(findings[0],
                 "sends micro-batch 0 of stage 0 where PP rank 1 receives "
                 "micro-batch 1 of stage 1"));
}

TEST_CASE("Overlapped all-to-alls shorten 1F1B and interleaved 1F1B", "[schedule]") {
  for (const char* schedule : {"1f1b", "interleaved_1f1b"}) {
    const bool interleaved = std::string(schedule) != "1f1b";
    const auto step = [&](const char* overlap) {
      return step_of(small_cluster({std::string("/plan/schedule=") + schedule,
                                    fmt::format("/plan/virtual_pipeline={}", interleaved ? 2 : 1),
                                    "/model/num_hidden_layers=16", "/plan/layers_per_stage=[]",
                                    std::string("/plan/overlap_expert_parallel=") + overlap}));
    };
    CAPTURE(schedule);
    CHECK(step("true") < step("false"));
  }
}

TEST_CASE("The analytic tier bounds schedules with several chunks per rank", "[schedule]") {
  for (const char* schedule : {"interleaved_1f1b", "zb_v", "dualpipe_v"})
    for (const int m : {8, 24}) {
      const StudySpec s = uniform_pipeline(
          schedule, 4, 2, m,
          {"/plan/sequence_length=2048",
           fmt::format("/plan/overlap_expert_parallel={}", std::string(schedule) == "dualpipe_v")});
      const double bound = analytic_step(s).step_s, simulated = step_of(s);
      CAPTURE(schedule, m);
      CHECK(bound <= simulated * (1 + 1e-7));
      CHECK(bound > 0.5 * simulated);
    }
}

TEST_CASE("A better schedule is faster on the same layout", "[schedule]") {
  const auto step = [](const std::string& schedule, int v) {
    return step_of(
        uniform_pipeline(schedule, 4, v, 8,
                         {fmt::format("/model/num_hidden_layers={}", 16),
                          "/model/first_k_dense_replace=16", "/plan/sequence_length=4096"}));
  };
  const double gpipe = step("gpipe", 1), plain = step("1f1b", 1);
  const double interleaved2 = step("interleaved_1f1b", 2),
               interleaved4 = step("interleaved_1f1b", 4);
  const double h1 = step("zb_h1", 1), zb_v = step("zb_v", 2);
  CHECK(plain == Approx(gpipe).epsilon(0.02));
  CHECK(interleaved2 < plain);
  CHECK(interleaved4 < interleaved2);
  CHECK(h1 < plain);
  CHECK(zb_v < h1);
}
