// Gradients that one product writes, and FP8 weights that the optimizer writes.
#include "sim/graph/written_gradients.h"

#include <numeric>

#include "sim/schedule/compile_plan.h"
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

namespace orrery {
namespace {

struct Compiled {
  explicit Compiled(const std::vector<std::string>& more)
      : study(load_study(std::string(kSourceDir) + "/experiments/runtime_speed/wide", more,
                         kSourceDir)),
        graph{study.model, study.plan, study.stack, study.cluster.node.gpus},
        plan(compile_plan(graph)) {}

  const StageGraph& stage() const { return plan.stages[0]; }
  int64_t elements(bool written) const {
    int64_t n = 0;
    for (const Param& p : stage().params)
      if (p.trained && p.gradient_written == written) n += p.count();
    return n;
  }
  const Op* find(std::string_view name) const {
    for (const StageGraph& g : plan.stages)
      for (const Op& op : g.ops)
        if (op.name == name) return &op;
    return nullptr;
  }

  StudySpec study;
  GraphConfig graph;
  ExecPlan plan;
};

TEST_CASE("written gradients: products of a step of one micro-batch", "[graph]") {
  const Compiled c({});
  // Embedding and norms are added to: 32768 x 7168, and of the 4 layers 2 x 7168 + 1536 + 512 each,
  // and the last norm of 7168.
  CHECK(c.elements(false) == 32768 * 7168 + 4 * (2 * 7168 + 1536 + 512) + 7168);
  // Operands of 4096 tokens in BF16, and the FP32 result once.
  const Op* head = c.find("head wgrad");
  REQUIRE(head != nullptr);
  CHECK(head->writes_gradient);
  CHECK(head->work.hbm.count() == 2 * 4096 * (32768 + 7168) + int64_t{4} * 32768 * 7168);
  const int64_t held =
      std::accumulate(c.plan.classes[0].shares.begin(), c.plan.classes[0].shares.end(), int64_t{0},
                      [](int64_t n, const OptimizerShare& s) { return n + s.elements; });
  CHECK(c.find("zero gradients")->shape.m == held - c.elements(true));
}

TEST_CASE("written gradients: none with two micro-batches, or without the stack's word",
          "[graph]") {
  for (const char* change : {"/plan/global_batch=2", "/stack/writes_gradients=false"}) {
    const Compiled c({change});
    INFO(change);
    CHECK(c.elements(true) == 0);
    CHECK_FALSE(c.find("head wgrad")->writes_gradient);
    CHECK(c.find("head wgrad")->work.hbm.count() ==
          2 * 4096 * (32768 + 7168) + int64_t{8} * 32768 * 7168);
  }
}

TEST_CASE("written gradients: FP8 products too", "[graph]") {
  const Compiled c({"/plan/precision=fp8"});
  // What BF16 products leave: see above.
  CHECK(c.elements(false) == 32768 * 7168 + 4 * (2 * 7168 + 1536 + 512) + 7168);
  CHECK(c.find("head wgrad")->writes_gradient);
  // 7168 x 16384 over 4096 tokens in FP8 with FP32 scales of 128 tokens, and the result once.
  const Op* dense = c.find("o_proj wgrad");
  REQUIRE(dense != nullptr);
  CHECK(dense->writes_gradient);
  CHECK(dense->work.hbm.count() ==
        (4096 + 4 * 4096 / 128) * (7168 + 16384) + int64_t{4} * 7168 * 16384);
  // Of all 32 experts.
  const Op* experts = c.find("experts down wgrad");
  REQUIRE(experts != nullptr);
  CHECK(experts->writes_gradient);
  const Compiled adds({"/plan/precision=fp8", "/stack/writes_gradients=false"});
  CHECK(adds.find("experts down wgrad")->work.hbm - experts->work.hbm ==
        Bytes(int64_t{4} * 32 * 2048 * 7168));
}

TEST_CASE("optimizer: a rank with whole master weights writes the FP8 ones", "[graph]") {
  const Compiled c({"/plan/precision=fp8"});
  CHECK(c.find("cast weights") == nullptr);
  for (const OptimizerShare& s : c.plan.classes[0].shares) {
    CHECK(s.cast_in_optimizer);
    for (const StageGraph& g : c.plan.stages)
      for (const Op& op : g.ops)
        // Gradient, master weight twice, two BF16 moments twice: 4 + 8 + 8 bytes.
        if (op.kind == OpKind::kAdamW && op.shape.m == s.elements)
          CHECK(op.work.hbm == Bytes(20 * s.elements) + s.kernel_weights);
  }
  const Compiled cast({"/plan/precision=fp8", "/stack/casts_in_optimizer=false"});
  CHECK(cast.find("cast weights") != nullptr);
}

}  // namespace
}  // namespace orrery
