#include <cmath>

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
  Sourced& hbm = s.cluster.node.gpu.power.pJ_per_byte;
  REQUIRE(hbm.value > 0);
  const TimedStep shared = timed_step(s);
  hbm.value = 0;
  const TimedStep alone = timed_step(s);
  s.cluster.node.gpu.power.limit_W.value = 0;
  const TimedStep full = timed_step(s);

  double most = 0, least = 1e9;
  for (std::size_t i = 0; i < shared.plan.ops.size(); ++i) {
    const Op& op = shared.plan.graph_op(shared.plan.ops[i]);
    if (op_resource(op.kind) != Resource::kCompute) continue;
    CAPTURE(op_kind_name(op.kind));
    const Picos step = shared.timing[i].duration[0];
    CHECK(step >= full.timing[i].duration[0]);
    if (rate_family(op, {s.model, s.plan, s.stack, s.cluster.node.gpus}) < kFirstGemmFamily)
      CHECK(step == alone.timing[i].duration[0]);
    if (op.kind != OpKind::kGemm) continue;
    const double ratio = seconds(step) / seconds(alone.timing[i].duration[0]);
    most = std::max(most, ratio), least = std::min(least, ratio);
  }
  CHECK(most < 1.01);  // the coolest product of the step
  CHECK(least < 0.97);
}
