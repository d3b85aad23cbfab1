// Every kind of block that a family of models has: gradients against differences, and layouts
// against a single rank.
#include <algorithm>

#include "runtime/model/device_support.h"
#include "tests/unit/runtime/gradient_check.h"

namespace orrery {
namespace {

struct SmallModel {
  std::string name, members;  // of the own form, beside the common ones
};

const std::string kCommon =
    R"({"model_type":"orrery","hidden_size":24,"vocab_size":40,"num_hidden_layers":)";
const std::string kRange = R"("initializer_range":0.2,)";
const std::string kMoe = R"("experts":4,"experts_per_token":2,"expert_intermediate_size":16)";

// Megatron's GPT with dropout.
const SmallModel kGpt = {"GPT", R"("norm":"layer_norm","norm_bias":true,"num_attention_heads":3,
    "qkv_bias":true,"attention_out_bias":true,"position":"learned","max_position_embeddings":12,
    "activation":"gelu","ffn_bias":true,"intermediate_size":48,"tie_word_embeddings":true,
    "dropout":0.2})"};
const SmallModel kGptScores = {"GPT with dropout of scores", R"("norm":"layer_norm",
    "num_attention_heads":3,"position":"learned","max_position_embeddings":12,"activation":"gelu",
    "intermediate_size":48,"dropout":0.1,"attention_dropout":0.3})"};
const SmallModel kNeox = {"GPT-NeoX",
                          R"("norm":"layer_norm","norm_bias":true,"num_attention_heads":3,
    "block":"parallel","qkv_bias":true,"position":"rope","rotary_dim":4,"activation":"gelu_tanh",
    "intermediate_size":48})"};
const SmallModel kOneNorm = {"one norm, ALiBi, window",
                             R"("norm":"layer_norm","num_attention_heads":3,
    "num_key_value_heads":1,"block":"parallel_one_norm","position":"alibi","sliding_window":3,
    "activation":"squared_relu","intermediate_size":48,"dropout":0.1})"};
const SmallModel kGptOss = {"gpt-oss", R"("norm":"rms_norm","num_attention_heads":4,
    "num_key_value_heads":2,"head_dim":8,"qkv_bias":true,"attention_out_bias":true,
    "attention_sinks":true,"sliding_window":4,"sliding_layers":[0],"position":"rope",
    "activation":"clipped_swiglu","activation_limit":0.5,"ffn_bias":true,
    "moe":{)" + kMoe + R"(,"linear_bias":true}})"};
const SmallModel kQwen3Moe = {"Qwen3-MoE", R"("norm":"rms_norm","num_attention_heads":4,
    "num_key_value_heads":2,"head_dim":8,"qk_norm":true,"position":"rope","activation":"swiglu",
    "moe":{)" + kMoe + "}}"};
const SmallModel kQwen2Moe = {"Qwen2-MoE", R"("norm":"rms_norm","num_attention_heads":3,
    "qkv_bias":true,"position":"none","activation":"swiglu","intermediate_size":32,
    "moe":{)" + kMoe + R"(,"shared_experts":1,"shared_intermediate_size":40,"shared_gate":true,
    "layer_freq":2,"layer_offset":1,"norm_topk_prob":false}})"};
const SmallModel kUngated = {"ungated experts, direct queries", R"("norm":"layer_norm",
    "attention":"mla","num_attention_heads":3,"q_lora_rank":0,"kv_lora_rank":16,
    "qk_nope_head_dim":8,"qk_rope_head_dim":4,"v_head_dim":8,"position":"rope",
    "activation":"gelu","intermediate_size":32,"dropout":0.1,
    "moe":{)" + kMoe + R"(,"shared_experts":1,"dense_layers":1}})"};
const std::vector<SmallModel> kModels = {kGpt,    kGptScores, kNeox,     kOneNorm,
                                         kGptOss, kQwen3Moe,  kQwen2Moe, kUngated};

Layout of(const SmallModel& m, Layout l, int layers = 4) {
  l.more.insert(l.more.begin(),
                fmt::format("/model={}{},{}{}", kCommon, layers, kRange, m.members));
  return l;
}

// Two layers and one short sequence: every parameter costs two steps.
void check_small(const SmallModel& m, std::vector<std::string> more) {
  INFO(m.name);
  more.insert(more.end(),
              {"/plan/global_batch=1", "/plan/sequence_length=6", "/plan/layers_per_stage=[2]"});
  check_gradients(of(m, {.more = std::move(more)}, 2));
}

void same(const Run& a, const Run& b) {
  REQUIRE(a.steps.size() == b.steps.size());
  for (std::size_t s = 0; s < a.steps.size(); ++s) {
    CHECK(b.steps[s].grad_norm == Approx(a.steps[s].grad_norm).epsilon(2e-5));
    CHECK(b.steps[s].losses.at(0) == Approx(a.steps[s].losses.at(0)).epsilon(1e-5));
  }
  REQUIRE(a.gradients.size() == b.gradients.size());
  for (const auto& [name, x] : a.gradients) {
    INFO(name);
    const std::vector<double>& y = b.gradients.at(name);
    REQUIRE(x.size() == y.size());
    double scale = 1e-6, difference = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      scale = std::max(scale, std::abs(x[i]));
      difference = std::max(difference, std::abs(x[i] - y[i]));
    }
    CHECK(difference < 5e-4 * scale);
  }
}

TEST_CASE("blocks: gradients of every kind against differences", "[runtime]") {
  for (const SmallModel& m : kModels) check_small(m, {});
}

TEST_CASE("blocks: gradients with recomputed norms and the FP8 recipe's graph", "[runtime]") {
  for (const SmallModel& m : {kGpt, kOneNorm, kGptOss, kUngated})
    check_small(m, {"/plan/precision=fp8",
                    "/plan/recompute={\"norms\":true,\"mla_up\":false,\"swiglu\":true}"});
}

TEST_CASE("blocks: layouts compute what one rank computes", "[runtime]") {
  for (const SmallModel& m : kModels) {
    INFO(m.name);
    const Run one = TinyJob<float>(of(m, {})).run(1);
    const bool moe = m.members.find("experts") != std::string::npos;
    same(one, TinyJob<float>(of(m, {.pipeline = 2, .data = 2, .expert = moe ? 2 : 1})).run(1));
    same(one, TinyJob<float>(
                  of(m, {.pipeline = 2, .schedule = "dualpipe", .more = {"/plan/micro_batch=2"}}))
                  .run(1));
  }
}

TEST_CASE("blocks: what is computed again gives the same gradients", "[runtime]") {
  for (const SmallModel& m : kModels) {
    INFO(m.name);
    const Run one = TinyJob<float>(of(m, {})).run(1);
    for (const char* again : {R"({"full":"uniform","full_layers":3})", R"({"attention":true})"})
      same(one, TinyJob<float>(of(m, {.more = {std::string("/plan/recompute=") + again}})).run(1));
  }
}

// With a number of heads that two ranks share evenly.
SmallModel even(SmallModel m) {
  const std::string three = "\"num_attention_heads\":3";
  if (const auto at = m.members.find(three); at != std::string::npos)
    m.members[at + three.size() - 1] = '4';
  return m;
}

TEST_CASE("blocks: tensor and context parallelism compute what one rank computes", "[runtime]") {
  const std::string sp = "/plan/sequence_parallel=true",
                    overlap = "/plan/overlap_tensor_parallel=true";
  const std::string all_to_all = "/plan/context_parallel_kind=all_to_all";
  for (const SmallModel& three :
       {kGpt, kGptScores, kNeox, kGptOss, kQwen3Moe, kQwen2Moe, kUngated}) {
    const SmallModel m = even(three);
    INFO(m.name);
    const Run one = TinyJob<float>(of(m, {})).run(1);
    const auto check = [&](const Layout& l) {
      INFO(l.name());
      same(one, TinyJob<float>(of(m, l)).run(1));
    };
    const bool moe = m.members.find("experts") != std::string::npos;
    const int expert = moe ? 2 : 1;
    check({.data = 2, .expert = expert, .more = {sp}, .tensor = 2});
    check({.expert = expert, .more = {sp, overlap}, .tensor = 2});
    if (!moe) check({.pipeline = 2, .tensor = 2});
    if (m.members.find("sinks") != std::string::npos) continue;
    if (m.members.find("attention_dropout") != std::string::npos) continue;
    check({.pipeline = 2, .expert = expert, .more = {"/plan/micro_batch=2"}, .context = 2});
    check({.more = {all_to_all}, .context = 2});
    check({.more = {sp}, .tensor = 2, .context = 2});
  }
}

TEST_CASE("blocks: forms of attention that are not split are refused", "[spec]") {
  const auto refusal = [](const SmallModel& m, const Layout& l) {
    return error_of([&] { tiny_study(of(even(m), l)); });
  };
  CHECK(contains(refusal(kOneNorm, {.context = 2}), "a model with ALiBi needs tensor_parallel 1"));
  CHECK(contains(refusal(kOneNorm, {.context = 2}), "with a sliding window needs"));
  CHECK(contains(refusal(kGptOss, {.context = 2}), "attention sinks needs context_parallel 1"));
  CHECK(
      contains(refusal(kGptScores, {.context = 2}), "attention_dropout needs context_parallel 1"));
  CHECK(contains(refusal(kGptOss, {.data = 2, .more = {"/plan/expert_tensor_parallel=2"}}),
                 "needs experts without biases"));
}

TEST_CASE("blocks: the graph has the parameters that the model counts", "[runtime]") {
  for (const SmallModel& m : kModels) {
    INFO(m.name);
    const StudySpec s = tiny_study(of(m, {}));
    const StageGraph g = build_stage({s.model, s.plan, s.stack, s.cluster.node.gpus}, 0);
    CHECK(g.param_count(false) + g.param_count(true) == count_parameters(s.model).total());
  }
}

TEST_CASE("blocks: the graph's products are the model's and the stated extra", "[runtime]") {
  for (const SmallModel& m : kModels) {
    INFO(m.name);
    const StudySpec s = tiny_study(of(m, {.more = {"/plan/micro_batch=2"}}));
    const ModelSpec& spec = s.model;
    const StageGraph g = build_stage({spec, s.plan, s.stack, s.cluster.node.gpus}, 0);
    double flops = 0;
    for (const Op& op : g.ops) flops += op.work.flops.count();
    const double tokens = 24;  // 2 sequences of 12
    // The attention backward computes the scores again; each of 4 experts has 64 rows of padding.
    double extra = 0;
    for (int64_t layer = 0; layer < spec.layers; ++layer) {
      extra += 2.0 * 2 * static_cast<double>(spec.heads * spec.qk_dim()) *
               causal_scores(12, spec.window(layer));
      if (spec.is_moe_layer(layer))
        extra += 3.0 * 2 * 4 * 64 *
                 static_cast<double>((spec.gate_factor() + 1) * spec.hidden * spec.expert_ffn);
    }
    CHECK(flops == Approx(model_flops_per_token(spec, 12).causal * tokens + extra).epsilon(1e-12));
  }
}

TEST_CASE("blocks: an expert's capacity sets its rows", "[runtime]") {
  const auto rows = [](const std::string& capacity, int expert) {
    SmallModel m = kQwen3Moe;
    m.members.insert(m.members.find("\"experts\""), capacity);
    const StudySpec s = tiny_study(of(m, {.data = 2, .expert = expert}));
    return expert_rows({s.model, s.plan, s.stack, s.cluster.node.gpus}).expanded;
  };
  // 12 tokens with 2 of 4 experts each: 24 rows, and 64 of padding for each local expert.
  CHECK(rows("", 1) == 24 + 4 * 64);
  CHECK(rows("", 2) == 24 + 2 * 64);
  // At most ceil(1.25 · 12 · 2 / 4) = 8 of each rank's tokens for an expert.
  CHECK(rows("\"capacity_factor\":1.25,", 1) == 4 * 8);
  CHECK(rows("\"capacity_factor\":1.25,\"pad_to_capacity\":true,", 1) == 4 * 8);
  CHECK(rows("\"capacity_factor\":1.25,\"pad_to_capacity\":true,", 2) == 2 * 2 * 8);
}

TEST_CASE("blocks: what has no CUDA kernel is named", "[runtime]") {
  const auto missing = [](const Layout& l) {
    const StudySpec s = tiny_study(l);
    return missing_on_cuda(compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus}), s.model);
  };
  CHECK(missing({}).empty());
  CHECK(missing(of(kNeox, {})).empty());
  CHECK(missing(of(kGpt, {})) == std::vector<std::string>{"op dropout", "op dropout_backward"});
  const std::vector<std::string> scores = missing(of(kGptScores, {}));
  CHECK(std::find(scores.begin(), scores.end(), "dropout of attention probabilities") !=
        scores.end());
  CHECK(missing(of(kQwen3Moe, {})).empty());
  const std::string sequence = "/plan/sequence_parallel=true";
  CHECK(missing({.pipeline = 2, .data = 2, .expert = 2, .more = {sequence}, .tensor = 2}).empty());
  CHECK(missing({.more = {sequence, "/plan/overlap_tensor_parallel=true"}, .tensor = 2}).empty());
  CHECK(missing({.more = {sequence, "/plan/expert_tensor_parallel=2"}, .tensor = 2}).empty());
  for (const char* kind : {"ring", "all_to_all"})
    CHECK(missing({.more = {std::string("/plan/context_parallel_kind=") + kind}, .context = 2})
              .empty());
  StudySpec ring = tiny_study({.context = 3});
  ring.stack.fp32_ring = true;
  const GraphConfig config{ring.model, ring.plan, ring.stack, ring.cluster.node.gpus};
  CHECK(missing_on_cuda(compile_plan(config), ring.model) ==
        std::vector<std::string>{"a ring's sums in FP32 (fp32_ring)"});
  for (const char* key : {"/plan/optimizer=muon", "/plan/offload_optimizer=true"})
    CHECK(missing({.more = {key}}).empty());
  const std::vector<std::string> offload = {
      R"(/plan/offload_activations={"min_tensor_elements":1})"};
  CHECK(missing({.more = offload}).empty());
  CHECK(missing({.data = 2, .more = offload}).size() == 1);
  const std::vector<std::string> oss = missing(of(kGptOss, {}));
  for (const char* what : {"biases of experts", "biases of routers", "clipped SwiGLU",
                           "attention with a sliding window", "attention sinks"})
    CHECK(std::find(oss.begin(), oss.end(), what) != oss.end());
}

TEST_CASE("blocks: dropout leaves its share out and keeps the mean", "[runtime]") {
  const SmallModel all = {"", kGpt.members};
  const StudySpec s = tiny_study(of(all, {}));
  CHECK(s.model.dropout == 0.2);
  // Another step draws other masks: with equal weights and data the losses differ.
  TinyJob<double> tiny(of(all, {}));
  const HashTokens tokens(s.model.vocab);
  OptimizerStep still;
  still.lr = 0;
  const double first = tiny.job.step({&tokens, 0}, still).losses.at(0);
  CHECK(tiny.job.step({&tokens, 0}, still).losses.at(0) == first);
  still.step = 2;
  CHECK(tiny.job.step({&tokens, 0}, still).losses.at(0) != first);
}

}  // namespace
}  // namespace orrery
