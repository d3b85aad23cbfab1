#include <cmath>

#include "sim/exec/sim_timing.h"
#include "sim/schedule/compile_plan.h"
#include "sim/study/experiment.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

using namespace orrery;

TEST_CASE("Step speeds divide the times of their class of kernels and no others", "[exec]") {
  const std::string root = kSourceDir;
  StudySpec s = load_study(root + "/experiments/tiny_llama", {}, root);
  const ExecPlan plan = compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
  const int64_t sms = static_cast<int64_t>(s.cluster.node.gpu.sm_count.value);
  const auto times = [&] {
    const GraphConfig graph{s.model, s.plan, s.stack, s.cluster.node.gpus};
    std::vector<double> out;
    for (const Op& op : plan.stages.front().ops)
      out.push_back(op_resource(op.kind) == Resource::kCompute
                        ? compute_op_seconds(op, {graph, s.cluster}, {sms})
                        : 0);
    return out;
  };
  const std::vector<double> alone = times();
  s.stack.step_speed.matrix.value = 0.5;
  s.stack.step_speed.memory_bound.value = 0.8;
  const std::vector<double> in_step = times();
  int matrix = 0, memory_bound = 0;
  for (std::size_t i = 0; i < alone.size(); ++i) {
    const OpKind kind = plan.stages.front().ops[i].kind;
    const bool half =
        kind == OpKind::kGemm || kind == OpKind::kAttention || kind == OpKind::kAttentionBackward;
    CAPTURE(op_kind_name(kind));
    CHECK(std::abs(in_step[i] - alone[i] / (half ? 0.5 : 0.8)) <= 1e-12 * in_step[i]);
    if (alone[i] > 0) ++(half ? matrix : memory_bound);
  }
  CHECK(matrix > 0);
  CHECK(memory_bound > 0);
}

TEST_CASE("Ranks that take turns on a GPU compute so many times as long", "[exec]") {
  const std::string root = kSourceDir;
  StudySpec s = load_study(root + "/experiments/tiny_llama", {}, root);
  const ExecPlan plan = compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
  const GraphConfig graph{s.model, s.plan, s.stack, s.cluster.node.gpus};
  const PlanTiming alone = time_ops(plan, {graph, s.cluster}, 1);
  s.cluster.node.ranks_per_gpu = 3;
  const PlanTiming shared = time_ops(plan, {graph, s.cluster}, 1);
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    if (alone[i].resource != Resource::kCompute) continue;
    // To a picosecond for each of the three.
    CHECK(std::abs(shared[i].duration[0].count() - 3 * alone[i].duration[0].count()) <= 3);
  }
}
