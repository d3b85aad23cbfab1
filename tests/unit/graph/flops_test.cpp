#include "sim/graph/stage_builder.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

constexpr double kTokens = 4096;  // of one micro-batch: one sequence
constexpr double kHidden = 7168;
// Shapes of DeepSeek-V3, each matrix product as multiply-adds a token.
constexpr double kQUp = 1536 * 128 * 192.0;
constexpr double kKvUp = 512 * 128 * 256.0;
constexpr double kAttention =
    kHidden * 1536 + kQUp + kHidden * 576 + kKvUp + 128 * 128 * kHidden;  // = 187,105,280
constexpr double kExpert = 3 * kHidden * 2048;
constexpr double kMoe = 9 * kExpert + 256 * kHidden;  // 8 routed, 1 shared, router
constexpr double kHead = 129280 * kHidden;
constexpr double kMtpProjection = 2 * kHidden * kHidden;
// 2 · S² · heads · 1/2 (causal) for each column of q·k and of p·v.
constexpr double kScores = kTokens * kTokens * 128;

double flops(const StudySpec& s) {
  const GraphConfig c{s.model, s.plan, s.stack, s.cluster.node.gpus};
  double f = 0;
  for (int64_t stage = 0; stage < s.plan.pipeline_parallel; ++stage)
    for (const Op& op : build_stage(c, stage).ops) f += op.work.flops.count();
  return f;
}

// What the graph executes beyond the model's FLOPs.
double mtp_flops() {
  return 3 * (2 * kTokens * (kAttention + kMoe + kHead + kMtpProjection) + kScores * (192 + 128));
}
// Each of the 4 experts of a rank gets 64 rows of padding on average, in 58 MoE layers and MTP's.
double padding_flops() { return 3 * 59 * 2 * kExpert * 4 * 64; }
// The backward of the attention core computes the scores again, in 61 layers and MTP's.
double score_flops() { return 62 * kScores * 192; }
double mla_up_flops() { return 62 * 2 * kTokens * (kQUp + kKvUp); }

}  // namespace

TEST_CASE("Forward, backward and weight FLOPs of all stages are the model's and the stated extra",
          "[graph]") {
  const StudySpec s = deepseek();
  const double model = model_flops_per_token(s.model, 4096).causal * kTokens;
  const double extra = mtp_flops() + padding_flops() + score_flops() + mla_up_flops();
  CHECK(flops(s) == Approx(model + extra).epsilon(1e-12));
}

TEST_CASE("Only the MLA up-projections among the recomputed parts cost matrix products",
          "[graph]") {
  const double all = flops(deepseek());
  CHECK(all - flops(deepseek({"/plan/recompute/mla_up=false"})) ==
        Approx(mla_up_flops()).epsilon(1e-9));
  CHECK(flops(deepseek({"/plan/recompute/norms=false", "/plan/recompute/swiglu=false"})) == all);
}

TEST_CASE("Without MTP the last stage has one head and the model's FLOPs", "[graph]") {
  const StudySpec s = deepseek({"/model/num_nextn_predict_layers=0"});
  const double model = model_flops_per_token(s.model, 4096).causal * kTokens;
  const double extra = (padding_flops() * 58) / 59 + (score_flops() + mla_up_flops()) * 61 / 62;
  CHECK(flops(s) == Approx(model + extra).epsilon(1e-12));
  const GraphConfig c{s.model, s.plan, s.stack, s.cluster.node.gpus};
  const StageGraph last = build_stage(c, 15);
  CHECK(last.units == 2);
  // Its layer, final norm and head: no second copy of the embedding.
  CHECK(last.param_count(false) + 64 * last.param_count(true) ==
        187105280 + 2 * 7168 + 1536 + 512 + 257LL * 3 * 7168 * 2048 + 256 * 7168 + 256 + 7168 +
            129280LL * 7168);
}

TEST_CASE("The dense width sets the FLOPs of three layers only", "[graph]") {
  // From 18432 to the hidden size: 3 layers · 3 passes · 2 · tokens · 3 · h · (18432 - 7168).
  const double difference = flops(deepseek()) - flops(deepseek({"/model/intermediate_size=7168"}));
  CHECK(difference == Approx(3 * 3 * 2 * kTokens * 3 * kHidden * (18432 - 7168)).epsilon(1e-9));
}

TEST_CASE("Every weight matrix has one forward, one input gradient and one weight gradient",
          "[graph]") {
  const StudySpec s = deepseek();
  const GraphConfig c{s.model, s.plan, s.stack, s.cluster.node.gpus};
  for (const int64_t stage : {0, 7, 15}) {
    const StageGraph g = build_stage(c, stage);
    CAPTURE(stage);
    double forward = 0, backward = 0, weight = 0;
    for (const Op& op : g.ops) {
      if (op.kind == OpKind::kAttention || op.kind == OpKind::kAttentionBackward) continue;
      if (op.name.find("recompute") != std::string::npos) continue;
      // The router's weight gradient runs in the backward segment, as in DeepSeek's trace.
      const bool router_weight = op.name == "router wgrad";
      if (op.phase == Phase::kForward) forward += op.work.flops.count();
      if (op.phase == Phase::kBackward && !router_weight) backward += op.work.flops.count();
      if (op.phase == Phase::kWeight || router_weight) weight += op.work.flops.count();
    }
    CHECK(forward > 0);
    CHECK(backward == Approx(forward).epsilon(1e-12));
    CHECK(weight == Approx(forward).epsilon(1e-12));
  }
}
