#include <algorithm>

#include "sim/exec/sim_timing.h"
#include "sim/graph/work.h"
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

StudySpec tiny() {
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/tiny_llama", {}, root);
}

Prediction predict_tiny(const StudySpec& s) {
  PredictOptions options;
  options.allow_oom = true;
  return predict(s, options);
}

}  // namespace

TEST_CASE("An op that a stack runs as several kernels costs their launches and bytes", "[exec]") {
  StudySpec s = tiny();
  UnfusedOp norm;
  norm.kind = "rms_norm";
  norm.kernels.value = 4;
  norm.bytes_per_element.value = 30;
  const Prediction fused = predict_tiny(s);
  s.stack.unfused_ops = {norm};
  const Prediction unfused = predict_tiny(s);
  // Three more launches for each norm of the step at the least.
  const GpuSpec& gpu = s.cluster.node.gpu;
  const double kernel = (gpu.kernel_fixed_us.value + gpu.launch_gap_us.value) * 1e-6;
  CHECK(seconds(unfused.trace.step - fused.trace.step) > 3 * kernel);
  // As one kernel without intermediates it costs what the op does.
  s.stack.unfused_ops[0].kernels.value = 1;
  s.stack.unfused_ops[0].bytes_per_element.value = 0;
  CHECK(predict_tiny(s).trace.step == fused.trace.step);
}

TEST_CASE("Elements of ops", "[graph]") {
  Op op;
  op.kind = OpKind::kRmsNorm;
  op.shape = {.m = 8, .n = 16};
  CHECK(op_elements(op) == 128);
  op.kind = OpKind::kRope;
  op.shape = {.m = 8, .n = 64, .k = 128, .groups = 4};
  CHECK(op_elements(op) == 8 * 4 * 64);
  op.kind = OpKind::kAttention;
  op.shape = {.m = 2, .n = 16, .k = 4, .d_qk = 192, .d_v = 128};
  CHECK(op_elements(op) == 2 * 16 * 4 * 128);
}

TEST_CASE("An unfused op of an unknown kind is refused by name", "[study]") {
  const std::string root = kSourceDir;
  const std::string set =
      R"(/stack/unfused_ops={"rms_nrom": {"kernels": {"value": 2, "source": "assumed",)"
      R"( "reference": "a test", "date": "2026"}, "bytes_per_element": {"value": 1,)"
      R"( "source": "assumed", "reference": "a test", "date": "2026"}}})";
  const std::string experiment = root + "/experiments/validation/torchtitan/8b_8.json";
  CHECK_NOTHROW(load_study(experiment, {}, root));
  try {
    load_study(experiment, {set}, root);
    FAIL("accepted");
  } catch (const InputError& e) {
    CHECK(contains(e.what(), "unfused_ops has \"rms_nrom\""));
  }
}

TEST_CASE("Selective recompute runs k, o and up of a layer again, and keeps the core", "[graph]") {
  const std::string root = kSourceDir;
  const std::string titan = root + "/experiments/validation/torchtitan/";
  const auto again = [&](const std::string& experiment) {
    const StudySpec s = load_study(titan + experiment, {}, root);
    const CompiledStudy c = compile_study(s);
    std::vector<std::string> products;
    for (const Op& op : c.plan.stages[0].ops) {
      if (!op.again || op.layer != 5) continue;
      CHECK(op.kind != OpKind::kAttention);
      const bool product = op.kind == OpKind::kGemm || op.kind == OpKind::kGemmFp8;
      if (product || op.kind == OpKind::kReduceScatter) products.push_back(op.name);
    }
    return products;
  };
  CHECK(again("8b_8_compile.json") ==
        std::vector<std::string>{"k_proj fwd", "o_proj fwd", "mlp up fwd"});
  CHECK(again("8b_8_compile_float8.json") ==
        std::vector<std::string>{"k_proj fwd", "o_proj fwd", "mlp up fwd"});
  // What the tensor-parallel group has summed is kept.
  CHECK(again("8b_tp8_bf16_vanilla.json") == std::vector<std::string>{"k_proj fwd", "mlp up fwd"});
  CHECK(again("8b_tp8_bf16_async.json") == std::vector<std::string>{"k_proj fwd", "mlp up fwd"});
}

TEST_CASE("Selective recompute is refused where it is not known how", "[study]") {
  const std::string root = kSourceDir;
  const std::string experiment = root + "/experiments/validation/torchtitan/8b_8.json";
  for (const char* set : {R"(/plan/recompute={"every_second_product": true, "norms": true})",
                          "/plan/precision=fp8"}) {
    try {
      load_study(experiment, {set}, root);
      FAIL("accepted " << set);
    } catch (const Error& e) {
      CHECK(contains(e.what(), "every_second_product"));
    }
  }
}
