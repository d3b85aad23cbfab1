#include "sim/import/hf_config.h"

#include "sim/base/json_reader.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

ModelSpec read(const std::string& text) {
  const json::Node n = json::parse_json(text, "config.json");
  Diagnostics d;
  ModelSpec m = read_hf_config(n, "/model", "m", d);
  d.throw_if_any();
  return m;
}

// config_671B.json of DeepSeek's own inference code.
const char* const kInference = R"({"vocab_size": 129280, "dim": 7168, "inter_dim": 18432,
  "moe_inter_dim": 2048, "n_layers": 61, "n_dense_layers": 3, "n_heads": 128,
  "n_routed_experts": 256, "n_shared_experts": 1, "n_activated_experts": 8, "n_expert_groups": 8,
  "n_limited_groups": 4, "route_scale": 2.5, "score_func": "sigmoid", "q_lora_rank": 1536,
  "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
  "dtype": "fp8"})";

bool defaulted(const ModelSpec& m, const std::string& entry) {
  for (const std::string& d : m.defaulted)
    if (d == entry) return true;
  return false;
}

}  // namespace

TEST_CASE("DeepSeek's inference config describes the same model as its Hugging Face config",
          "[import]") {
  const ModelSpec m = read(kInference);
  const ModelSpec hf = deepseek().model;
  CHECK(count_parameters(m).total() == count_parameters(hf).total());
  CHECK(model_flops_per_token(m, 4096).causal == model_flops_per_token(hf, 4096).causal);
  CHECK(m.family == hf.family);
  CHECK(m.expert_groups == 8);
  CHECK(m.top_groups == 4);
  // It cannot tell about MTP, and says so.
  CHECK(m.mtp_layers == 0);
  CHECK(m.defaulted.size() == 1);
}

TEST_CASE("An inference config must give every shape", "[import]") {
  std::string text = kInference;
  text.replace(text.find("\"inter_dim\""), 11, "\"enter_dim\"");
  CHECK(contains(error_of([&] { read(text); }), "inter_dim"));
}

TEST_CASE("The repository's config leaves nothing to defaults", "[import]") {
  CHECK(deepseek().model.defaulted.empty());
}

TEST_CASE("A key left out takes the family's default and is listed", "[import]") {
  const ModelSpec m = read(R"({"model_type": "deepseek_v3", "intermediate_size": 10944})");
  CHECK(m.ffn == 10944);
  CHECK(m.hidden == 7168);
  CHECK(defaulted(m, "hidden_size=7168"));
  CHECK_FALSE(defaulted(m, "intermediate_size=18432"));
}

TEST_CASE("A null q_lora_rank means queries without a latent", "[import]") {
  const ModelSpec m = read(R"({"model_type": "deepseek_v3", "q_lora_rank": null})");
  CHECK(m.q_lora_rank == 0);
  // One 7168 x 128·192 matrix in place of two and no norm between them.
  const ModelSpec hf = deepseek().model;
  CHECK(count_parameters(m).attention - count_parameters(hf).attention ==
        61 * (7168LL * 128 * 192 - 7168 * 1536 - 1536LL * 128 * 192));
  CHECK(count_parameters(hf).norms - count_parameters(m).norms == 61 * 1536);
}

TEST_CASE("Mixtral 8x7B has 46.7 billion parameters", "[import]") {
  const ModelSpec m = read(R"({"model_type": "mixtral"})");
  CHECK(m.attention == AttentionKind::kGqa);
  CHECK(m.kv_heads == 8);
  // 32 layers of q, o 4096² and k, v 4096·1024; 8 experts of 3·4096·14336; router 4096·8 with this
  // simulator's balancing bias of 8; two norms; embedding and head of 32000; final norm.
  CHECK(count_parameters(m).total() == 32LL * (2 * 4096 * 4096 + 2 * 4096 * 1024 +
                                               8 * 3LL * 4096 * 14336 + 4096 * 8 + 8 + 2 * 4096) +
                                           2LL * 32000 * 4096 + 4096);
}

TEST_CASE("A wrong value in a config is named with its place", "[import]") {
  const auto refusal = [](const std::string& member) {
    return error_of([&] { read(R"({"model_type": "deepseek_v3", )" + member + "}"); });
  };
  CHECK(contains(refusal(R"("hidden_size": "7168")"), "/model/hidden_size"));
  CHECK(contains(refusal(R"("hidden_size": 0)"), "/model/hidden_size"));
  CHECK(contains(refusal(R"("num_hidden_layers": 61.5)"), "/model/num_hidden_layers"));
  CHECK(contains(refusal(R"("moe_layer_freq": 2)"), "/model/moe_layer_freq"));
  CHECK(contains(refusal(R"("first_k_dense_replace": 62)"), "62 leading dense layers"));
  CHECK(contains(refusal(R"("topk_group": 9)"), "keeps 9 groups of only 8"));
  CHECK(contains(error_of([] { read(R"({"model_type": "deepseek_v2"})"); }), "deepseek_v3"));
  CHECK(contains(error_of([] { read("{}"); }), "model_type"));
  const std::string heads = error_of([] {
    read(R"({"model_type": "mixtral", "num_attention_heads": 32, "num_key_value_heads": 5})");
  });
  CHECK(contains(heads, "num_attention_heads (32) is not a multiple of num_key_value_heads (5)"));
}
