// With and without the mirror every number of the result is the same.
#include "sim/exec/plan_mirror.h"

#include <fmt/format.h>

#include "tests/catch.h"
#include "tests/unit/deepseek.h"
#include "tests/unit/exec/same_trace.h"

using namespace orrery;

namespace {

StepTrace step(const CompiledStudy& c, SimOptions o, bool mirror) {
  o.mirror = mirror;
  return simulate(c.plan, c.timing, o);
}

StudySpec dualpipe(std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"/plan/schedule=dualpipe", "/plan/overlap_expert_parallel=true"});
  return small_cluster(more);
}

}  // namespace

TEST_CASE("A DualPipe step is the same with half of its ranks simulated", "[exec]") {
  for (const char* layers : {"[2,2,1,1]", "[1,2,1,2]", "[3,1,1,1]"})
    for (const int batches : {8, 10, 30, 64})
      for (const bool fast_forward : {false, true}) {
        StudySpec s = dualpipe({fmt::format("/plan/layers_per_stage={}", layers),
                                fmt::format("/plan/global_batch={}", 4 * batches)});
        if (batches == 10) s.stack.host_issue_us.value = 5;
        const CompiledStudy c = compile_study(s);
        SimOptions o = sim_options(s);
        o.fast_forward = fast_forward;
        CAPTURE(layers, batches, fast_forward);
        REQUIRE(find_mirror(c.plan, c.timing).has_value());
        const StepTrace half = step(c, o, true), all = step(c, o, false);
        check_same(half, all);
        CHECK(half.skipped_events == all.skipped_events);
        CHECK(half.host_wait == all.host_wait);
      }
}

TEST_CASE("The mirror maps ranks, ops and communicators onto each other and back", "[exec]") {
  const StudySpec study = dualpipe();  // which the compiled one refers to
  const CompiledStudy c = compile_study(study);
  const std::optional<PlanMirror> m = find_mirror(c.plan, c.timing);
  REQUIRE(m.has_value());
  // 4 ranks: 0 and 3 hold stages 0 and 3, 1 and 2 the others.
  CHECK(m->of_class == std::vector<uint32_t>{3, 2, 1, 0});
  for (uint32_t op = 0; op < c.plan.ops.size(); ++op) {
    const uint32_t image = m->of_op[op];
    CHECK(m->of_op[image] == op);
    CHECK(c.plan.op_name(image) == c.plan.op_name(op));
  }
  for (const auto& [key, image] : m->of_key) {
    CHECK(m->of_key.at({key.first, image}) == key.second);
    // A transfer up the ranks becomes one down the ranks; both ranks reduce over one group.
    if (is_p2p(key.first)) CHECK(image != key.second);
    if (key.first == CommKind::kData) CHECK(image == key.second);
  }
}

TEST_CASE("Where a rank differs from its image both are simulated", "[exec]") {
  const StudySpec s = dualpipe();
  CompiledStudy c = compile_study(s);
  constexpr std::size_t op = 0;  // of the first class
  OpTiming slower = c.timing[op];
  slower.duration[0] += Picos(1);
  const PlanTiming before = c.timing;
  c.timing.set(op, c.timing.number_of(slower));
  CHECK(find_mirror(c.plan, before).has_value());
  CHECK_FALSE(find_mirror(c.plan, c.timing).has_value());
  for (const char* schedule : {"/plan/schedule=1f1b", "/plan/schedule=zb_h1"}) {
    const StudySpec unmirrored = small_cluster({schedule, "/plan/overlap_expert_parallel=false"});
    const CompiledStudy other = compile_study(unmirrored);
    CHECK_FALSE(find_mirror(other.plan, other.timing).has_value());
  }
}
