#include <algorithm>
#include <vector>

#include "sim/exec/sim_timing.h"
#include "sim/schedule/compile_plan.h"
#include "sim/study/experiment.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

using namespace orrery;

namespace {

struct TimedStep {
  ExecPlan plan;
  PlanTiming timing;
};

TimedStep timed_step(const StudySpec& s) {
  const GraphConfig graph{s.model, s.plan, s.stack, s.cluster.node.gpus};
  TimedStep t{compile_plan(graph), {}};
  t.timing = time_ops(t.plan, {graph, s.cluster}, 1);
  return t;
}

}  // namespace

TEST_CASE("Products of a step share a clock, higher than that of each alone", "[exec]") {
  const std::string root = kSourceDir;
  StudySpec s = load_study(root + "/experiments/validation_h200/dense", {}, root);
  GpuSpec& gpu = s.cluster.node.gpu;
  REQUIRE(gpu.power.pJ_per_byte.value > 0);
  const TimedStep shared = timed_step(s);
  gpu.power.pJ_per_byte.value = 0;
  const TimedStep alone = timed_step(s);
  gpu.power.limit_W.value = 0;
  const TimedStep full = timed_step(s);

  const double fixed_s = 1e-6 * (gpu.kernel_fixed_us.value + gpu.launch_gap_us.value);
  std::vector<double> clocks;
  double faster = 1;
  for (std::size_t i = 0; i < shared.plan.ops.size(); ++i) {
    const Op& op = shared.plan.graph_op(shared.plan.ops[i]);
    if (op_resource(op.kind) != Resource::kCompute) continue;
    CAPTURE(op_kind_name(op.kind));
    const auto taken = [&](const TimedStep& t) { return seconds(t.timing[i].duration[0]); };
    if (rate_family(op, {s.model, s.plan, s.stack, s.cluster.node.gpus}) < kFirstGemmFamily)
      continue;  // a part of it goes with the clock (memory_bound_test.cpp)
    // Results in BF16: none of their time is that of accumulators in memory.
    if (op.kind != OpKind::kGemm || op.phase == Phase::kWeight) continue;
    clocks.push_back((taken(full) - fixed_s) / (taken(shared) - fixed_s));
    faster = std::min(faster, taken(shared) / taken(alone));
  }
  REQUIRE(clocks.size() > 50);
  for (const double f : clocks) CHECK(f == Approx(clocks[0]).epsilon(1e-6));
  CHECK(clocks[0] > 0.5);
  CHECK(clocks[0] < 0.95);
  CHECK(faster < 0.97);
}
