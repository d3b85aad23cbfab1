// DeepSeek-V2 and V3: transformers' DeepseekV2Config and DeepseekV3Config with the keys of
// DeepSeek's own modeling code. Kimi K2 uses the code and the keys of V3.
#include <array>

#include "sim/import/hf_family.h"

namespace orrery::hf {
namespace {

using json::Reader;

constexpr std::array<std::string_view, 2> kScores = {"sigmoid", "softmax"};

struct RouterDefaults {
  std::size_t score, method;
  bool norm_topk_prob;
  double factor;
};
void read_router(Reader& r, const RouterDefaults& d, ModelSpec& m) {
  static constexpr std::array<std::string_view, 3> kMethods = {"noaux_tc", "group_limited_greedy",
                                                               "greedy"};
  m.router.score = static_cast<RouterScore>(r.choice_or("scoring_func", d.score, kScores));
  m.router.norm_topk_prob = r.boolean_or("norm_topk_prob", d.norm_topk_prob);
  m.router.routed_scaling_factor =
      r.number_or("routed_scaling_factor", d.factor, {json::kPositive.min, 1000});
  const std::size_t method = r.choice_or("topk_method", d.method, kMethods);
  m.router.bias = method == 0;
  m.router.aux_loss = r.number_or("aux_loss_alpha", 0, {0, 1000});
  if (kMethods[method] == "greedy" && m.expert_groups > 1)
    r.fail("topk_method", "found \"greedy\", which knows no groups, but n_group is more than 1");
}

// What the two families share after the shapes.
void read_rest(Reader& r, ConfigReader& c, int64_t max_position, ModelSpec& m) {
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  m.moe_layer_freq = r.integer_or("moe_layer_freq", 1, kCount);
  m.activation = read_activation(r, "hidden_act", "silu", true);
  refuse_true(r, "attention_bias", "latent attention of the training graph has no biases");
  read_numerics(r, {.norm_eps = 1e-6, .rope_theta = 10000, .max_position_embeddings = max_position},
                m);
  m.rope.interleaved = r.boolean_or("rope_interleave", true);
}

// Null is written for a router without groups.
int64_t groups_or_one(Reader& r, ConfigReader& c, std::string_view key) {
  const json::Node* raw = r.raw(key);
  return raw == nullptr || raw->kind == json::Node::Kind::kNull ? 1 : c.get(key, 1);
}

}  // namespace

void read_deepseek_v2(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.attention = AttentionKind::kMla;
  m.hidden = c.get("hidden_size", 4096);
  m.layers = c.get("num_hidden_layers", 32);
  m.vocab = c.get("vocab_size", 32000);
  m.heads = c.get("num_attention_heads", 32);
  m.q_lora_rank = c.get("q_lora_rank", 1536, kCountOrZero);
  m.kv_lora_rank = c.get("kv_lora_rank", 512);
  m.qk_nope_dim = c.get("qk_nope_head_dim", 128);
  m.qk_rope_dim = c.get("qk_rope_head_dim", 64);
  m.v_dim = c.get("v_head_dim", 128);
  m.ffn = c.get("intermediate_size", 11008);
  m.expert_ffn = c.get("moe_intermediate_size", 1407);
  m.dense_layers = c.get("first_k_dense_replace", 0, kCountOrZero);
  m.experts = c.get("n_routed_experts", 64, kCountOrZero);
  m.shared_experts = c.get("n_shared_experts", 2, kCountOrZero);
  m.experts_per_token = r.integer("num_experts_per_tok", kCount);  // without a default
  m.expert_groups = groups_or_one(r, c, "n_group");
  m.top_groups = groups_or_one(r, c, "topk_group");
  read_router(r, {.score = 1, .method = 2, .norm_topk_prob = false, .factor = 1}, m);
  // Greedy choice ignores the groups that a file may still name.
  if (r.string_or("topk_method", "greedy") == "greedy") m.expert_groups = m.top_groups = 1;
  read_rest(r, c, 2048, m);
}

void read_deepseek_v3(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.attention = AttentionKind::kMla;
  m.hidden = c.get("hidden_size", 7168);
  m.layers = c.get("num_hidden_layers", 61);
  m.vocab = c.get("vocab_size", 129280);
  m.heads = c.get("num_attention_heads", 128);
  m.q_lora_rank = c.get("q_lora_rank", 1536, kCountOrZero);
  m.kv_lora_rank = c.get("kv_lora_rank", 512);
  m.qk_nope_dim = c.get("qk_nope_head_dim", 128);
  m.qk_rope_dim = c.get("qk_rope_head_dim", 64);
  m.v_dim = c.get("v_head_dim", 128);
  m.ffn = c.get("intermediate_size", 18432);
  m.expert_ffn = c.get("moe_intermediate_size", 2048);
  m.dense_layers = c.get("first_k_dense_replace", 3, kCountOrZero);
  m.experts = c.get("n_routed_experts", 256, kCountOrZero);
  m.shared_experts = c.get("n_shared_experts", 1, kCountOrZero);
  m.experts_per_token = c.get("num_experts_per_tok", 8);
  m.expert_groups = c.get("n_group", 8);
  m.top_groups = c.get("topk_group", 4);
  m.mtp_layers = c.get("num_nextn_predict_layers", 1, kCountOrZero);
  read_router(r, {.score = 0, .method = 0, .norm_topk_prob = true, .factor = 2.5}, m);
  read_rest(r, c, 4096, m);
}

// The names of DeepSeek's own inference/configs/config_671B.json; defaults of its ModelArgs do not
// describe V3's shapes, so the keys that shape the graph are required. For values they do.
void read_deepseek_inference(Reader& r, ModelSpec& m) {
  m.attention = AttentionKind::kMla;
  m.hidden = r.integer("dim", kCount);
  m.layers = r.integer("n_layers", kCount);
  m.vocab = r.integer("vocab_size", kCount);
  m.heads = r.integer("n_heads", kCount);
  m.q_lora_rank = r.integer("q_lora_rank", kCountOrZero);
  m.kv_lora_rank = r.integer("kv_lora_rank", kCount);
  m.qk_nope_dim = r.integer("qk_nope_head_dim", kCount);
  m.qk_rope_dim = r.integer("qk_rope_head_dim", kCount);
  m.v_dim = r.integer("v_head_dim", kCount);
  m.ffn = r.integer("inter_dim", kCount);
  m.expert_ffn = r.integer("moe_inter_dim", kCount);
  m.dense_layers = r.integer("n_dense_layers", kCountOrZero);
  m.experts = r.integer("n_routed_experts", kCountOrZero);
  m.shared_experts = r.integer("n_shared_experts", kCountOrZero);
  m.experts_per_token = r.integer("n_activated_experts", kCount);
  m.expert_groups = r.integer("n_expert_groups", kCount);
  m.top_groups = r.integer("n_limited_groups", kCount);
  m.mtp_layers = 0;
  m.defaulted.push_back("num_nextn_predict_layers=0 (the inference config has no MTP module)");

  m.router.score = static_cast<RouterScore>(r.choice_or("score_func", 1, kScores));
  m.router.norm_topk_prob = m.router.score == RouterScore::kSigmoid;
  m.router.routed_scaling_factor = r.number_or("route_scale", 1, {json::kPositive.min, 1000});
  // Its code gives a bias to the 671B model alone, which it knows by its width.
  m.router.bias = m.hidden == 7168;

  m.norm_eps = 1e-6;
  m.max_position_embeddings = r.integer_or("max_seq_len", 16384, kCount);
  m.rope.interleaved = true;
  m.rope.theta = r.number_or("rope_theta", 10000, {json::kPositive.min, 1e9});
  m.rope.original_max_position = r.integer_or("original_seq_len", 4096, kCount);
  if (m.max_position_embeddings <= m.rope.original_max_position) return;
  m.rope.kind = RopeKind::kYarn;
  m.rope.factor = r.number_or("rope_factor", 40, {1, 1e6});
  m.rope.beta_fast = r.number_or("beta_fast", 32, {json::kPositive.min, 1e9});
  m.rope.beta_slow = r.number_or("beta_slow", 1, {json::kPositive.min, 1e9});
  // One value for both: only attention scores are scaled, cos and sin are not.
  m.rope.mscale = m.rope.mscale_all_dim = r.number_or("mscale", 1, {0, 100});
}

}  // namespace orrery::hf
