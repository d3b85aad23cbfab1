// What the backward computes again: its work, and the memory that it saves.
#include <algorithm>

#include "sim/schedule/compile_plan.h"
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

StudySpec with(const std::string& recompute) {
  return small_cluster({"/plan/schedule=1f1b", "/plan/overlap_expert_parallel=false",
                        "/plan/precision=bf16", "/plan/recompute=" + recompute});
}

std::vector<StageGraph> recompute_stages(const StudySpec& s) {
  std::vector<StageGraph> all;
  for (int64_t i = 0; i < s.plan.stages(); ++i)
    all.push_back(build_stage({s.model, s.plan, s.stack, s.cluster.node.gpus}, i));
  return all;
}

Prediction predicted(const StudySpec& s) {
  PredictOptions o;
  o.allow_oom = true;
  return predict(s, o);
}

double activations(const Prediction& p, std::size_t rank) {
  return static_cast<double>(
      p.trace.memory[rank].by_kind[static_cast<int>(BufferKind::kActivations)].count());
}

}  // namespace

TEST_CASE("Recomputed layers run their forward a second time, and no other op", "[graph]") {
  const StudySpec s = with(R"({"full":"uniform"})");
  for (const StageGraph& g : recompute_stages(s)) {
    double forward = 0, again = 0;
    for (const Op& op : g.ops) {
      const bool head = op.segment == SegmentKind::kHeadF;
      const bool mtp = op.name.starts_with("mtp projection");
      if (op.phase == Phase::kForward && !head && !mtp) forward += op.work.flops.count();
      if (op.again) again += op.work.flops.count();
    }
    CHECK(again == Approx(forward).epsilon(1e-12));
  }
  for (const StageGraph& g : recompute_stages(with("{}")))
    CHECK(std::none_of(g.ops.begin(), g.ops.end(), [](const Op& op) { return op.again; }));
}

TEST_CASE("Block recomputation takes the first layers of each stage", "[graph]") {
  // Stages of 2, 2, 1 and 1 layers; the last has the head and an MTP module too.
  const std::vector<StageGraph> g = recompute_stages(with(R"({"full":"block","full_layers":1})"));
  CHECK(g[0].recompute_from == std::vector<int>{0, -1});
  CHECK(g[2].recompute_from == std::vector<int>{0});
  const std::vector<StageGraph> u = recompute_stages(with(R"({"full":"uniform","full_layers":2})"));
  // The second layer's backward brings the forward of both.
  CHECK(u[0].recompute_from == std::vector<int>{-1, 0});
  CHECK(u[3].recompute_from == std::vector<int>{0, -1, 2, -1});
}

TEST_CASE("More recomputation holds less and takes longer", "[graph]") {
  const Prediction none = predicted(with("{}"));
  const Prediction core = predicted(with(R"({"attention":true})"));
  const Prediction block = predicted(with(R"({"full":"block","full_layers":1})"));
  const Prediction full = predicted(with(R"({"full":"uniform"})"));
  CHECK(activations(core, 0) < activations(none, 0));
  CHECK(activations(block, 0) < activations(none, 0));
  CHECK(activations(full, 0) < activations(block, 0));
  CHECK(none.step_time_s < core.step_time_s);
  CHECK(core.step_time_s < full.step_time_s);
  CHECK(none.step_time_s < block.step_time_s);
  CHECK(block.step_time_s < full.step_time_s);
}

TEST_CASE("Selective checkpoints of eager PyTorch keep what nobody reads", "[graph]") {
  const std::string root = kSourceDir;
  const auto held = [&](bool keeps) {
    StudySpec s = load_study(root + "/experiments/tiny_llama",
                             {R"(/plan/recompute={"every_second_product":true})"}, root);
    s.stack.separate_projections = true;
    s.stack.loss_kernel = LossKernel::kEager;  // where the most is held
    s.stack.keeps_unread_products = keeps;
    return predicted(s).trace.memory[0].peak.count();
  };
  const StudySpec s = load_study(root + "/experiments/tiny_llama", {}, root);
  // The output of each layer's last product, of seven, in BF16.
  CHECK(held(true) - held(false) == 2 * s.model.layers * s.plan.tokens_per_rank() * s.model.hidden);
}
