// Attention in FP8, and expert products whose epilogues apply the activation and cast.
#include <algorithm>

#include "sim/cost/attention.h"
#include "sim/exec/sim_timing.h"
#include "sim/schedule/compile_plan.h"
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

StudySpec study(const std::string& experiment, const std::vector<std::string>& set) {
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/validation/" + experiment, set, root);
}

// Grouped-query attention, 32 heads and 8 of keys and values, on 8 GB200.
StudySpec llama_8b(std::vector<std::string> more = {}) {
  more.push_back("/plan/global_batch=16");
  return study("megatron-bridge-dense/25_11_llama3_8b_gb200_mxfp8.json", more);
}

StageGraph stage(const StudySpec& s) {
  return build_stage({s.model, s.plan, s.stack, s.cluster.node.gpus}, 0);
}

double step_seconds(const StudySpec& s) {
  PredictOptions options;
  options.allow_oom = true;
  return seconds(predict(s, options).trace.step);
}

int64_t count(const StageGraph& g, bool (*of)(const Op&)) {
  return std::count_if(g.ops.begin(), g.ops.end(), of);
}

}  // namespace

TEST_CASE("An FP8 core reads casts of its operands and of its output's gradient", "[graph]") {
  const StageGraph bf16 = stage(llama_8b());
  const StageGraph fp8 = stage(llama_8b({"/plan/fp8_attention=true"}));
  const auto casts = [](const Op& op) { return op.kind == OpKind::kCast; };
  // Of queries, and of keys with values, forward, of the gradient backward, in each of 32 layers.
  CHECK(count(fp8, casts) == count(bf16, casts) + 3 * 32);
  for (const Op& op : fp8.ops) {
    if (op.kind != OpKind::kAttention && op.kind != OpKind::kAttentionBackward) continue;
    CHECK(fp8.tensors[fp8.inputs(op)[0].v].dtype == Dtype::kFp8Tensor);
    CHECK(fp8.tensors[fp8.outputs(op)[0].v].dtype == Dtype::kBf16);
  }
}

TEST_CASE("An FP8 core takes the time of the kernels of that name", "[exec]") {
  const StudySpec s = llama_8b({"/plan/fp8_attention=true"});
  const GraphConfig graph{s.model, s.plan, s.stack, s.cluster.node.gpus};
  const StageGraph g = stage(s);
  const auto op = std::find_if(g.ops.begin(), g.ops.end(),
                               [](const Op& x) { return x.kind == OpKind::kAttention; });
  REQUIRE(op != g.ops.end());
  const GpuSpec& gpu = s.cluster.node.gpu;
  const AttentionKernelSpec* kernel = attention_forward_kernel(gpu, "cudnn_fp8");
  REQUIRE(kernel != nullptr);
  CHECK(kernel->peak_TFLOPS.value == gpu.fp8_dense_TFLOPS.value);
  const AttentionShape shape{
      .batch = 2, .heads = 32, .kv_heads = 8, .length = 8192, .d_qk = 128, .d_v = 128};
  const double expected = attention_forward_seconds(gpu, *kernel, shape, whole_gpu(gpu)) /
                          s.stack.step_speed.matrix.value;
  CHECK(compute_op_seconds(*op, {graph, s.cluster}, {static_cast<int64_t>(gpu.sm_count.value)}) ==
        Approx(expected));
  CHECK(step_seconds(s) < step_seconds(llama_8b()));
}

TEST_CASE("Where FP8 attention cannot be predicted, the plan is refused", "[study]") {
  std::string message;
  try {  // the H100 has no such kernels
    study("megatron-bridge-dense/26_04_llama3_70b_h100_fp8_current.json",
          {"/plan/fp8_attention=true"});
  } catch (const InputError& e) {
    message = e.what();
  }
  CHECK(contains(message, "fp8_attention needs the kernels cudnn_fp8"));
  const StudySpec ring = study("megatron-bridge-dense/25_11_llama31_405b_b200_mxfp8.json", {});
  PlanSpec plan = ring.plan;
  plan.fp8_attention = true;
  const std::vector<std::string> broken = check_plan(plan, ring.model, ring.cluster);
  CHECK(std::any_of(broken.begin(), broken.end(), [](const std::string& s) {
    return contains(s, "fp8_attention with context_parallel 2");
  }));
}

TEST_CASE("Epilogues of expert products take no time, and nothing else changes", "[exec]") {
  const std::string experiment = "megatron-bridge-moe/26_06_qwen3_30b_gb200_mxfp8.json";
  StudySpec s = study(experiment, {"/plan/global_batch=64"});
  REQUIRE(s.stack.fused_expert_epilogues);
  const StageGraph fused = stage(s);
  const double with = step_seconds(s);
  s.stack.fused_expert_epilogues = false;
  const StageGraph apart = stage(s);
  CHECK(with < step_seconds(s));
  REQUIRE(fused.ops.size() == apart.ops.size());
  CHECK(count(apart, [](const Op& op) { return op.in_epilogue; }) == 0);
  // Forward: the activation and the cast of its result. Backward: the activation's, the weights'
  // gradient, the copy for the weight gradient and the cast of what the next product reads. In each
  // of 48 layers.
  CHECK(count(fused, [](const Op& op) { return op.in_epilogue; }) == 6 * 48);
  CHECK(count(fused, [](const Op& op) {
          return op.in_epilogue && (op.kind == OpKind::kGemmFp8 || op.kind == OpKind::kPermute);
        }) == 0);
  // A stack whose products cast nothing has nothing to put there.
  s.stack.fused_expert_epilogues = true;
  s.plan.precision = Precision::kBf16;
  CHECK(count(stage(s), [](const Op& op) { return op.in_epilogue; }) == 0);
}
