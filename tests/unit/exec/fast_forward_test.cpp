// With and without fast-forward every number of the result is the same.
#include <fmt/format.h>

#include "sim/exec/sim_backend.h"
#include "sim/exec/sim_regions.h"
#include "sim/schedule/compile_plan.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"
#include "tests/unit/exec/same_trace.h"

using namespace orrery;

namespace {

StepTrace step(const CompiledStudy& c, const StudySpec& s, bool fast_forward,
               Folding folding = Folding::kFolded) {
  SimOptions o = sim_options(s);
  o.fast_forward = fast_forward;
  o.folding = folding;
  return simulate(c.plan, c.timing, o);
}

std::string batches(int per_pipeline) {
  return fmt::format("/plan/global_batch={}", 4 * per_pipeline);
}

}  // namespace

TEST_CASE("Fast-forward changes no number of the result, whatever the schedule", "[exec]") {
  for (const std::string_view schedule : kScheduleNames) {
    const bool pairs = schedule.starts_with("dualpipe");
    const bool chunks =
        schedule == "interleaved_1f1b" || schedule == "zb_v" || schedule == "dualpipe_v";
    for (int n : {8, 12, 24, 64}) {
      const StudySpec s = small_cluster(
          {fmt::format("/plan/schedule={}", schedule), batches(n), "/model/num_hidden_layers=8",
           fmt::format("/plan/virtual_pipeline={}", chunks ? 2 : 1),
           fmt::format("/plan/layers_per_stage={}", chunks ? "[1,1,1,1,1,1,1,1]" : "[2,2,2,2]"),
           fmt::format("/plan/overlap_expert_parallel={}", pairs)});
      const CompiledStudy c = compile_study(s);
      CAPTURE(schedule, n);
      const StepTrace fast = step(c, s, true), full = step(c, s, false);
      check_same(fast, full);
      CHECK(full.skipped_events == 0);
    }
  }
}

TEST_CASE("Fast-forward changes no number of the result with two chunks per rank", "[exec]") {
  for (std::string_view schedule : {"interleaved_1f1b", "zb_v", "dualpipe_v"})
    for (int n : {8, 24, 64}) {
      const bool pairs = schedule == "dualpipe_v" || (schedule == "interleaved_1f1b" && n == 24);
      const StudySpec s =
          small_cluster({fmt::format("/plan/schedule={}", schedule), "/plan/virtual_pipeline=2",
                         batches(n), "/model/num_hidden_layers=8", "/plan/layers_per_stage=[]",
                         fmt::format("/plan/overlap_expert_parallel={}", pairs)});
      const CompiledStudy c = compile_study(s);
      CAPTURE(schedule, n);
      check_same(step(c, s, true), step(c, s, false));
    }
}

TEST_CASE("Fast-forward skips most of a long DualPipe or 1F1B step", "[exec]") {
  for (const char* schedule : {"/plan/schedule=dualpipe", "/plan/schedule=1f1b"}) {
    const StudySpec s = small_cluster({schedule, batches(256)});
    const StepTrace t = step(compile_study(s), s, true);
    CAPTURE(schedule, t.events);
    CHECK(t.skipped_events > t.events / 2);
  }
}

TEST_CASE("Fast-forward of every rank agrees with one rank per class", "[exec]") {
  const StudySpec s = small_cluster({batches(256)});
  const CompiledStudy c = compile_study(s);
  const StepTrace folded = step(c, s, true);
  const StepTrace unfolded = step(c, s, true, Folding::kUnfolded);
  CHECK(unfolded.skipped_events > 0);
  CHECK(unfolded.step == folded.step);
  check_same(unfolded, step(c, s, false, Folding::kUnfolded));
}

TEST_CASE("The regular part of 1F1B is found", "[exec]") {
  // 4 ranks, 16 micro-batches, first rank: 4 forwards, then one backward and one forward each for
  // 12 micro-batches, then the backwards. With each backward comes the receive of its gradient.
  const StudySpec s = small_cluster({"/plan/schedule=1f1b", batches(16)});
  const GraphConfig graph{s.model, s.plan, s.stack, s.cluster.node.gpus};
  const ExecPlan plan = compile_plan(graph);
  const CallRegions r = find_regions(plan);
  CHECK(r.slots == 1);
  REQUIRE(r.of_class.size() == 4);
  for (std::size_t c = 0; c < r.of_class.size(); ++c)
    for (const CallRegion& x : r.of_class[c]) {
      CHECK(x.end - x.begin >= kMinPeriods * x.period);
      const auto& calls = plan.classes[c].calls;
      for (uint32_t i = x.begin; i + x.period < x.end; ++i)
        CHECK(calls[i + x.period].block == calls[i].block);
    }
}
