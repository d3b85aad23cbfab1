#include "sim/import/hf_config.h"

#include "sim/base/json_reader.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

ModelSpec read_config(const std::string& text) {
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
  const ModelSpec m = read_config(kInference);
  const ModelSpec hf = deepseek().model;
  CHECK(count_parameters(m).total() == count_parameters(hf).total());
  CHECK(model_flops_per_token(m, 4096).causal == model_flops_per_token(hf, 4096).causal);
  CHECK(m.family == hf.family);
  CHECK(m.expert_groups == 8);
  CHECK(m.top_groups == 4);
  CHECK(m.router.score == hf.router.score);
  CHECK(m.router.norm_topk_prob == hf.router.norm_topk_prob);
  CHECK(m.router.routed_scaling_factor == hf.router.routed_scaling_factor);
  CHECK(m.router.bias == hf.router.bias);
  CHECK(m.norm_eps == hf.norm_eps);
  CHECK(m.rope.theta == hf.rope.theta);
  CHECK(m.rope.factor == hf.rope.factor);
  CHECK(m.rope.interleaved == hf.rope.interleaved);
  CHECK(softmax_scale(m) == softmax_scale(hf));
  // It cannot tell about MTP, and says so.
  CHECK(m.mtp_layers == 0);
  CHECK(m.defaulted.size() == 1);
}

TEST_CASE("An inference config must give every shape", "[import]") {
  std::string text = kInference;
  text.replace(text.find("\"inter_dim\""), 11, "\"enter_dim\"");
  CHECK(contains(error_of([&] { read_config(text); }), "inter_dim"));
}

TEST_CASE("The repository's config leaves nothing to defaults", "[import]") {
  CHECK(deepseek().model.defaulted.empty());
}

TEST_CASE("A key left out takes the family's default and is listed", "[import]") {
  const ModelSpec m = read_config(R"({"model_type": "deepseek_v3", "intermediate_size": 10944})");
  CHECK(m.ffn == 10944);
  CHECK(m.hidden == 7168);
  CHECK(defaulted(m, "hidden_size=7168"));
  CHECK_FALSE(defaulted(m, "intermediate_size=18432"));
}

TEST_CASE("A null q_lora_rank means queries without a latent", "[import]") {
  const ModelSpec m = read_config(R"({"model_type": "deepseek_v3", "q_lora_rank": null})");
  CHECK(m.q_lora_rank == 0);
  // One 7168 x 128·192 matrix in place of two and no norm between them.
  const ModelSpec hf = deepseek().model;
  CHECK(count_parameters(m).attention - count_parameters(hf).attention ==
        61 * (7168LL * 128 * 192 - 7168 * 1536 - 1536LL * 128 * 192));
  CHECK(count_parameters(hf).norms - count_parameters(m).norms == 61 * 1536);
}

TEST_CASE("Mixtral 8x7B has 46.7 billion parameters", "[import]") {
  const ModelSpec m = read_config(R"({"model_type": "mixtral"})");
  CHECK(m.attention == AttentionKind::kGqa);
  CHECK(m.kv_heads == 8);
  // 32 layers of q, o 4096² and k, v 4096·1024; 8 experts of 3·4096·14336; router 4096·8;
  // two norms; embedding and head of 32000; final norm.
  CHECK(count_parameters(m).total() ==
        32LL * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 8 * 3LL * 4096 * 14336 + 4096 * 8 + 2 * 4096) +
            2LL * 32000 * 4096 + 4096);
}

TEST_CASE("A wrong value in a config is named with its place", "[import]") {
  const auto refusal = [](const std::string& member) {
    return error_of([&] { read_config(R"({"model_type": "deepseek_v3", )" + member + "}"); });
  };
  CHECK(contains(refusal(R"("hidden_size": "7168")"), "/model/hidden_size"));
  CHECK(contains(refusal(R"("hidden_size": 0)"), "/model/hidden_size"));
  CHECK(contains(refusal(R"("num_hidden_layers": 61.5)"), "/model/num_hidden_layers"));
  CHECK(contains(refusal(R"("moe_layer_freq": 0)"), "/model/moe_layer_freq"));
  CHECK(contains(refusal(R"("first_k_dense_replace": 62)"), "62 leading dense layers"));
  CHECK(contains(refusal(R"("topk_group": 9)"), "keeps 9 groups of only 8"));
  CHECK(contains(error_of([] { read_config(R"({"model_type": "deepseek_v4"})"); }), "deepseek_v"));
  CHECK(contains(error_of([] { read_config("{}"); }), "model_type"));
  const std::string heads = error_of([] {
    read_config(
        R"({"model_type": "mixtral", "num_attention_heads": 32, "num_key_value_heads": 5})");
  });
  CHECK(contains(heads, "num_attention_heads (32) is not a multiple of num_key_value_heads (5)"));
}

TEST_CASE("Llama is dense, with as many key-value heads as heads unless it says otherwise",
          "[import]") {
  const ModelSpec m = read_config(R"({"model_type": "llama", "num_key_value_heads": null,
                               "head_dim": null})");
  CHECK(m.attention == AttentionKind::kGqa);
  CHECK(m.kv_heads == 32);
  CHECK(m.qk_nope_dim == 128);
  CHECK(m.v_dim == 128);
  CHECK(m.experts == 0);
  CHECK(m.dense_layers == m.layers);
  CHECK_FALSE(m.is_moe_layer(31));
  // Llama 2 7B: 32 layers of 4 attention matrices, 3 of the FFN and two norms; embedding, head.
  CHECK(count_parameters(m).total() ==
        32LL * (4 * 4096 * 4096 + 3 * 4096 * 11008 + 2 * 4096) + 2LL * 32000 * 4096 + 4096);
  CHECK(count_parameters(m).total() == 6738415616LL);
  CHECK(defaulted(m, "intermediate_size=11008"));
}

TEST_CASE("Llama 3.2 1B has 1.24 billion parameters, its head tied", "[import]") {
  const ModelSpec m = read_config(R"({"model_type": "llama", "hidden_size": 2048,
      "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
      "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": true,
      "attention_bias": false, "mlp_bias": false, "hidden_act": "silu", "rms_norm_eps": 1e-05,
      "rope_theta": 500000.0})");
  CHECK(m.kv_heads == 8);
  CHECK(m.defaulted.empty());
  CHECK(count_parameters(m).head == 0);
  CHECK(count_parameters(m).total() == 1235814400LL);
}

TEST_CASE("A head dimension need not divide the hidden size when it is given", "[import]") {
  const auto llama = [](const std::string& more) {
    return R"({"model_type": "llama", "hidden_size": 100, "num_attention_heads": 8)" + more + "}";
  };
  CHECK(read_config(llama(R"(, "head_dim": 64)")).qk_dim() == 64);
  CHECK(contains(error_of([&] { read_config(llama("")); }),
                 "hidden_size (100) is not a multiple of num_attention_heads (8)"));
}

TEST_CASE("Numerics come from the file, or from the family's defaults without being listed",
          "[import]") {
  const ModelSpec v3 = deepseek().model;
  CHECK(v3.norm_eps == 1e-6);
  CHECK(v3.max_position_embeddings == 163840);
  CHECK(v3.initializer_range == 0.02);
  CHECK(v3.router.score == RouterScore::kSigmoid);
  CHECK(v3.router.norm_topk_prob);
  CHECK(v3.router.routed_scaling_factor == 2.5);
  CHECK(v3.router.bias);

  const ModelSpec mixtral = read_config(R"({"model_type": "mixtral"})");
  CHECK(mixtral.router.score == RouterScore::kSoftmax);
  CHECK(mixtral.router.norm_topk_prob);
  CHECK(mixtral.router.routed_scaling_factor == 1);
  CHECK_FALSE(mixtral.router.bias);
  CHECK(mixtral.norm_eps == 1e-5);
  CHECK(mixtral.max_position_embeddings == 131072);
  for (const std::string& d : mixtral.defaulted) CHECK_FALSE(contains(d, "rms_norm_eps"));

  const ModelSpec set = read_config(R"({"model_type": "deepseek_v3", "scoring_func": "softmax",
      "norm_topk_prob": false, "routed_scaling_factor": 16, "topk_method": "group_limited_greedy",
      "rms_norm_eps": 1e-5, "initializer_range": 0.006})");
  CHECK(set.router.score == RouterScore::kSoftmax);
  CHECK_FALSE(set.router.norm_topk_prob);
  CHECK(set.router.routed_scaling_factor == 16);
  CHECK_FALSE(set.router.bias);
  CHECK(set.norm_eps == 1e-5);
  CHECK(set.initializer_range == 0.006);
}

TEST_CASE("What the training graph cannot do is refused by its key", "[import]") {
  const auto refusal = [](const std::string& family, const std::string& member) {
    return error_of([&] { read_config(R"({"model_type": ")" + family + "\", " + member + "}"); });
  };
  CHECK(contains(refusal("llama", R"("hidden_act": "gelu")"), "found \"gelu\", expected \"silu\""));
  CHECK(contains(refusal("gpt2", R"("activation_function": "silu")"), "\"gelu_new\""));
  CHECK(contains(refusal("mpt", R"("attn_config": {"qk_ln": true})"), "/model/attn_config/qk_ln"));
  CHECK(contains(refusal("llama", R"("head_dim": 63)"), "/model/head_dim"));
  CHECK(contains(refusal("llama", R"("hidden_size": null)"), "/model/hidden_size"));
  CHECK(contains(refusal("llama", R"("attention_dropout": 0.1)"), "/model/attention_dropout"));
  CHECK(contains(refusal("deepseek_v3", R"("attention_bias": true)"), "/model/attention_bias"));
  CHECK(contains(refusal("deepseek_v3", R"("topk_method": "greedy")"), "n_group"));
  CHECK(
      contains(refusal("deepseek_v3", R"("scoring_func": "sigmod")"), "did you mean \"sigmoid\"?"));
  CHECK(refusal("mixtral", R"("sliding_window": null, "attention_dropout": 0.0)").empty());
}
