// GLM-4.5 to 4.7: grouped-query attention with half of each head rotated, DeepSeek-V3's router
// (transformers' Glm4MoeConfig).
#include "sim/import/hf_family.h"

namespace orrery::hf {

void read_glm4_moe(json::Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 4096);
  m.layers = c.get("num_hidden_layers", 46);
  m.vocab = c.get("vocab_size", 151552);
  read_gqa_heads(r, c, m, 96, 8, 0);
  m.qkv_bias = r.boolean_or("attention_bias", false);  // its output projection has none
  m.qk_norm = r.boolean_or("use_qk_norm", false);
  m.ffn = c.get("intermediate_size", 10944);
  m.expert_ffn = c.get("moe_intermediate_size", 1408);
  m.dense_layers = c.get("first_k_dense_replace", 1, kCountOrZero);
  m.experts = c.get("n_routed_experts", 128, kCountOrZero);
  m.shared_experts = c.get("n_shared_experts", 1, kCountOrZero);
  m.experts_per_token = c.get("num_experts_per_tok", 8);
  m.expert_groups = r.integer_or("n_group", 1, kCount);
  m.top_groups = r.integer_or("topk_group", 1, kCount);
  m.router.score = RouterScore::kSigmoid;
  m.router.bias = true;
  m.router.norm_topk_prob = r.boolean_or("norm_topk_prob", true);
  m.router.routed_scaling_factor =
      r.number_or("routed_scaling_factor", 1, {json::kPositive.min, 1000});
  m.mtp_layers = c.get("num_nextn_predict_layers", 0, kCountOrZero);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  m.activation = read_activation(r, "hidden_act", "silu", true);
  read_numerics(r,
                {.norm_eps = 1e-5,
                 .rope_theta = 10000,
                 .max_position_embeddings = 131072,
                 .partial_rotary_factor = 0.5},
                m);
}

}  // namespace orrery::hf
