#include "sim/graph/stage_builder.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

std::vector<StageGraph> stages(const StudySpec& s) {
  const GraphConfig c{s.model, s.plan, s.stack, s.cluster.node.gpus};
  std::vector<StageGraph> out;
  for (int64_t i = 0; i < s.plan.pipeline_parallel; ++i) out.push_back(build_stage(c, i));
  return out;
}

double gemm_flops(const StageGraph& g, Phase phase) {
  double f = 0;
  for (const Op& op : g.ops)
    if (op.phase == phase) f += op.work.flops.count();
  return f;
}

}  // namespace

TEST_CASE("The weights of all stages are the model's parameters", "[graph]") {
  const StudySpec s = deepseek();
  int64_t total = 0;
  for (const StageGraph& g : stages(s))
    total += g.param_count(false) + g.param_count(true) * s.plan.expert_parallel;
  const ParameterCount p = count_parameters(s.model);
  // The last stage has the shared embedding for its MTP module once more, and the MTP head's norm.
  CHECK(total == p.total() + p.mtp + p.embedding);
}

TEST_CASE("Forward FLOPs of the graph are a third of the model's", "[graph]") {
  const StudySpec s = deepseek();
  double forward = 0, head_and_mtp = 0;
  for (const StageGraph& g : stages(s)) {
    forward += gemm_flops(g, Phase::kForward);
    for (const Op& op : g.ops)
      if (op.phase == Phase::kForward && op.layer >= s.model.layers)
        head_and_mtp += op.work.flops.count();
  }
  const double tokens = 4096;
  // Beside MTP's projection, layer and head; and the expert padding.
  const double padding = 58 * 2 * 3 * 7168.0 * 2048 * (4 * 64);
  const double model = model_flops_per_token(s.model, 4096).causal / 3 * tokens;
  CHECK(forward - head_and_mtp - padding == Approx(model).epsilon(1e-9));
}

TEST_CASE("Stages differ: dense layers first, head and MTP last", "[graph]") {
  const std::vector<StageGraph> g = stages(deepseek());
  CHECK(g[0].find(SegmentKind::kDispatchF, 0) == nullptr);  // dense
  CHECK(g[0].find(SegmentKind::kDispatchF, 3) != nullptr);  // the fourth layer is MoE
  CHECK(g[7].units == 4);
  CHECK(g[15].units == 4);  // one layer, head, MTP layer, its head
  CHECK(g[15].find(SegmentKind::kHeadF, 1) != nullptr);
  CHECK(g[15].find(SegmentKind::kHeadF, 3) != nullptr);
  CHECK_FALSE(g[0].act_in.valid());
  CHECK(g[0].act_out.valid());
  CHECK_FALSE(g[15].act_out.valid());
}

TEST_CASE("A dense layer uses the FFN width", "[graph]") {
  const std::vector<StageGraph> g = stages(deepseek());
  int found = 0;
  for (const Op& op : g[0].ops)
    if (op.name == "mlp gate_up fwd") {
      CHECK(op.shape.n == 2 * 18432);
      CHECK(op.shape.k == 7168);
      ++found;
    }
  CHECK(found == 3);  // and no more than the three dense layers
}

TEST_CASE("Expert rows under balanced routing", "[graph]") {
  const StudySpec s = deepseek();
  const ExpertRows r = expert_rows({s.model, s.plan, s.stack, s.cluster.node.gpus});
  CHECK(r.local_experts == 4);
  CHECK(r.expanded == 4096 * 8 + 4 * 64);
  // 32 reachable ranks of 4 experts: 32·(1 - (120·119·118·117)/(128·127·126·125)) = 7.359 a token.
  CHECK(static_cast<double>(r.arrived) / 4096 == Approx(7.359).epsilon(1e-4));
  CHECK(r.sent == 4096 * 4);  // to four nodes each
  // Without that limit to the nodes of 8 experts of 4 groups, a node (8 ranks) holding a group:
  // 4·(1 - 96·95·94·93·92·91·90·89/(128·127·126·125·124·123·122·121)) = 3.6290.
  StudySpec free = s;
  free.plan.max_nodes_per_token = 0;
  const ExpertRows f = expert_rows({free.model, free.plan, free.stack, free.cluster.node.gpus});
  CHECK(static_cast<double>(f.sent) / 4096 == Approx(3.6290).epsilon(1e-3));
}

TEST_CASE("A copy of a token travels for each of its experts where the stack says so", "[graph]") {
  StudySpec s = deepseek();
  s.stack.token_dispatch = TokenDispatch::kPerExpert;
  const auto sent = [&] {
    return expert_rows({s.model, s.plan, s.stack, s.cluster.node.gpus}).sent;
  };
  CHECK(sent() == 4096 * 8);
  // With a capacity of 1.25 a buffer of 256 experts x 1.25 x 4096 x 8 / 256 rows, full or not.
  s.model.router.capacity_factor = 1.25;
  CHECK(sent() == 4096 * 8);
  s.model.router.pad_to_capacity = true;
  CHECK(sent() == 5 * 4096 * 8 / 4);
}
