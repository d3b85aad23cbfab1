// Precision recipes: their graphs compute what BF16 computes when casts keep the values, and train
// with their roundings.
#include <algorithm>
#include <cmath>

#include "tests/catch.h"
#include "tests/unit/runtime/tiny.h"

namespace orrery {
namespace {

constexpr Precision kRecipes[] = {Precision::kFp8Delayed, Precision::kFp8Current,
                                  Precision::kFp8Rowwise, Precision::kMxfp8, Precision::kNvfp4};

int count(const ExecPlan& plan, OpKind kind) {
  int n = 0;
  for (const StageGraph& g : plan.stages)
    n += static_cast<int>(
        std::count_if(g.ops.begin(), g.ops.end(), [&](const Op& o) { return o.kind == kind; }));
  return n;
}

void same_run(const Run& a, const Run& b) {
  for (std::size_t s = 0; s < a.steps.size(); ++s) {
    CHECK(a.steps[s].losses[0] == Approx(b.steps[s].losses[0]).epsilon(1e-5));
    CHECK(a.steps[s].grad_norm == Approx(b.steps[s].grad_norm).epsilon(1e-5));
  }
}

}  // namespace

TEST_CASE("recipes: with exact casts each is the BF16 recipe", "[runtime][long]") {
  const Run bf16 = TinyJob<float>(Layout{}).run(2);
  for (const Precision p : kRecipes) {
    CAPTURE(kPrecisionNames[static_cast<std::size_t>(p)]);
    same_run(TinyJob<float>(Layout{.precision = p}).run(2), bf16);
    same_run(TinyJob<float>(Layout{.pipeline = 2,
                                   .data = 2,
                                   .expert = 2,
                                   .schedule = "dualpipe",
                                   .more = {"/plan/recompute={\"norms\":true,\"mla_up\":true,"
                                            "\"swiglu\":true}"},
                                   .precision = p})
                 .run(2),
             bf16);
  }
  same_run(TinyJob<float>(Layout{.precision = Precision::kFp16}).run(2), bf16);
}

TEST_CASE("recipes: rows that tensor-parallel ranks share travel as they were cast", "[runtime]") {
  const Run bf16 = TinyJob<float>(Layout{}).run(2);
  const std::vector<std::string> shared = {"/plan/sequence_parallel=true"};
  const auto gathered = [](const ExecPlan& plan, Dtype dtype) {
    int n = 0;
    for (const StageGraph& g : plan.stages)
      for (const Op& o : g.ops)
        if (o.kind == OpKind::kAllGather && o.comm == CommKind::kTensor)
          n += g.tensors[g.outputs(o)[0].v].dtype == dtype ? 1 : 0;
    return n;
  };
  for (const Precision p : {Precision::kFp8Delayed, Precision::kMxfp8}) {
    CAPTURE(kPrecisionNames[static_cast<std::size_t>(p)]);
    TinyJob<float> job(Layout{.more = shared, .precision = p, .tensor = 2});
    same_run(job.run(2), bf16);
    // Of a product's input in both directions and of a row-parallel layer's gradient.
    CHECK(gathered(job.plan, operand_dtype(p)) > gathered(job.plan, Dtype::kBf16));
  }
}

TEST_CASE("recipes: rounding changes a step a little", "[runtime]") {
  // Of the first step, which reads the same weights; later ones part as the routing does.
  const StepResult bf16 = TinyJob<float>(Layout{}).run(1).steps[0];
  for (const Precision p : kRecipes) {
    CAPTURE(kPrecisionNames[static_cast<std::size_t>(p)]);
    const StepResult step =
        TinyJob<float>(Layout{.precision = p}, CpuNumerics::kFakeQuant).run(1).steps[0];
    const double difference = std::abs(step.losses[0] - bf16.losses[0]);
    CHECK(difference > 1e-7);
    CHECK(difference < 0.1);
    CHECK(step.grad_norm == Approx(bf16.grad_norm).epsilon(0.15));
  }
}

TEST_CASE("recipes: one kernel casts both ways, and transposes are not made again", "[runtime]") {
  const auto plan = [](Precision p) { return TinyJob<float>(Layout{.precision = p}).plan; };
  const ExecPlan delayed = plan(Precision::kFp8Delayed);
  CHECK(count(delayed, OpKind::kCastBoth) > 0);
  CHECK(count(delayed, OpKind::kAmax) == 0);
  CHECK(count(delayed, OpKind::kTransposeFp8) == 0);
  CHECK(count(delayed, OpKind::kTransposeScales) == 0);
  // A linear layer's input is cast once for all its readers: q_down and kv_down share one.
  const ExecPlan current = plan(Precision::kFp8Current);
  CHECK(count(current, OpKind::kAmax) ==
        count(current, OpKind::kCastBoth) + count(current, OpKind::kCastTranspose));
  const ExecPlan rowwise = plan(Precision::kFp8Rowwise);
  CHECK(count(rowwise, OpKind::kCastBoth) == 0);
  CHECK(count(rowwise, OpKind::kCast) > 0);
  CHECK(count(rowwise, OpKind::kCastTranspose) > 0);
  CHECK(count(plan(Precision::kFp16), OpKind::kUnscale) > 0);
}

TEST_CASE("recipes: layers at the ends stay BF16", "[runtime]") {
  const auto products = [](int64_t start, int64_t end) {
    StudySpec study = tiny_study(Layout{.precision = Precision::kMxfp8});
    study.plan.bf16_layers_at_start = start;
    study.plan.bf16_layers_at_end = end;
    return count(compile_plan({study.model, study.plan, study.stack, 1}), OpKind::kGemmFp8);
  };
  CHECK(products(1, 0) < products(0, 0));
  CHECK(products(1, 1) < products(1, 0));
  // All layers of the model but the MTP module's.
  CHECK(products(2, 2) > 0);
  CHECK(products(2, 2) == products(4, 4));
}

}  // namespace orrery
