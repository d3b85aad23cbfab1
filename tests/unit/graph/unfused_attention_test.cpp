#include <algorithm>

#include "sim/schedule/compile_plan.h"
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

StudySpec llama(const std::string& attention_kernel) {
  const std::string root = kSourceDir;
  StudySpec s = load_study(root + "/experiments/tiny_llama", {}, root);
  s.stack.attention_kernel = attention_kernel;
  return s;
}

}  // namespace

TEST_CASE("An unfused core keeps 2 bytes a score for the backward", "[graph]") {
  const StudySpec s = llama("unfused");
  const ExecPlan plan = compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
  const StageGraph& g = plan.stages[0];
  const int64_t layers = std::count_if(g.tensors.begin(), g.tensors.end(), [&](const Tensor& t) {
    const int64_t tokens = s.plan.tokens_per_micro_batch();
    return t.name == "attention probabilities" &&
           t.bytes.count() == 2 * tokens * s.model.heads * s.plan.sequence_length;
  });
  CHECK(layers == s.model.layers);
  const StudySpec fused = llama("");
  PredictOptions options;
  options.allow_oom = true;
  CHECK(predict(s, options).trace.step > predict(fused, options).trace.step);
}

TEST_CASE("With dropout an unfused core keeps 3 bytes a score more, and takes longer", "[graph]") {
  StudySpec s = llama("unfused");
  PredictOptions options;
  options.allow_oom = true;
  const Picos without = predict(s, options).trace.step;
  s.model.attention_dropout = 0.1;
  CHECK(predict(s, options).trace.step > without);
  const ExecPlan plan = compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
  const int64_t scores = s.plan.tokens_per_micro_batch() * s.model.heads * s.plan.sequence_length;
  int64_t bytes = 0;
  for (const Tensor& t : plan.stages[0].tensors)
    if (t.name == "dropped probabilities" || t.name == "attention dropout mask")
      bytes += t.bytes.count();
  CHECK(bytes == 3 * scores * s.model.layers);
}

TEST_CASE("Latent attention has no unfused core, and a kernel must be in the profile", "[graph]") {
  const auto refusal = [](const std::string& kernel) {
    const testing::TemporaryDirectory dir;
    const std::string root = kSourceDir;
    const std::string from = root + "/experiments/deepseek_v3/";
    testing::write(dir.file("experiment.json"),
                   R"({"name": "x", "model": ")" + from + R"(config.json", "plan": ")" + from +
                       R"(plan.json", "cluster": "cluster/deepseek_2048_h800", "stack": )" +
                       R"({"extends": "stack/deepseek", "attention_kernel": ")" + kernel +
                       R"("}})");
    return testing::failure_of([&] { load_study(dir.path(), {}, root); }).message;
  };
  CHECK(refusal("flash_attention_2").empty());
  CHECK(contains(refusal("unfused"), "which latent attention does not have"));
  CHECK(contains(refusal("flash_attention_9"),
                 "has only flash_attention_3, flash_attention_2, cudnn"));
}
