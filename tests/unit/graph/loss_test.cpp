// Bytes of the kernels that a stack computes its cross-entropy with.
#include "sim/schedule/compile_plan.h"
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

namespace orrery {
namespace {

int64_t cross_entropy_bytes(const std::string& kernel) {
  const StudySpec s = load_study(std::string(kSourceDir) + "/experiments/runtime_speed/wide",
                                 {"/stack/loss_kernel=" + kernel}, kSourceDir);
  const ExecPlan plan = compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
  for (const StageGraph& g : plan.stages)
    for (const Op& op : g.ops)
      if (op.kind == OpKind::kCrossEntropy) return op.work.hbm.count();
  return 0;
}

TEST_CASE("cross-entropy reads the logits twice, or once where a token's stay on the chip",
          "[graph]") {
  // BF16 logits of 4096 tokens over 32768 classes; the gradient is written.
  constexpr int64_t kLogits = 2 * 4096 * 32768;
  CHECK(cross_entropy_bytes("in_place") == 3 * kLogits);
  CHECK(cross_entropy_bytes("compiled") == 3 * kLogits);
  CHECK(cross_entropy_bytes("resident") == 2 * kLogits);
}

}  // namespace
}  // namespace orrery
