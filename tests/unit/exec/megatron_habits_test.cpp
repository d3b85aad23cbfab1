// What stacks of Megatron-LM's age do beside the graph.
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

using namespace orrery;

namespace {

StudySpec piped() {
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/validation/zero-bubble/1_5b_m24_1f1b.json",
                    {"/plan/global_batch=48"}, root);
}

double step(const StudySpec& s) {
  PredictOptions options;
  options.allow_oom = true;
  return seconds(predict(s, options).trace.step);
}

}  // namespace

TEST_CASE("A pipeline that waits for its transfers is slower", "[exec]") {
  StudySpec s = piped();
  s.stack.blocking_p2p = false;
  const double free = step(s);
  s.stack.blocking_p2p = true;
  CHECK(step(s) > free);
}

TEST_CASE("Gradients added by kernels of their own cost their reads and writes", "[exec]") {
  StudySpec s = piped();
  s.stack.separate_gradient_add = false;
  const double fused = step(s);
  s.stack.separate_gradient_add = true;
  CHECK(step(s) > fused);
}

TEST_CASE("Copies of a token for each expert take longer than one for its node", "[exec]") {
  const std::string root = kSourceDir;
  StudySpec s = load_study(root + "/experiments/tiny_moe_4_ranks", {"/plan/precision=bf16"}, root);
  s.stack.token_dispatch = TokenDispatch::kPerNode;
  const double once = step(s);
  s.stack.token_dispatch = TokenDispatch::kPerExpert;
  CHECK(step(s) > once);
  // All experts on every rank: nothing is dispatched.
  s.plan.expert_parallel = 1;
  const double alone = step(s);
  s.stack.token_dispatch = TokenDispatch::kPerNode;
  CHECK(step(s) == alone);
}
