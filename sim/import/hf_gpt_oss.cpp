// gpt-oss: every layer MoE, biases everywhere, attention sinks, every other layer with a window
// (transformers' GptOssConfig).
#include "sim/import/hf_family.h"

namespace orrery::hf {
namespace {

// The family's default, which its published files repeat.
RopeSpec default_rope() {
  RopeSpec s;
  s.theta = 150000;
  s.kind = RopeKind::kYarn;
  s.factor = 32;
  s.truncate = false;
  s.original_max_position = 4096;
  return s;
}

}  // namespace

void read_gpt_oss(json::Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 2880);
  m.layers = c.get("num_hidden_layers", 36);
  m.vocab = c.get("vocab_size", 201088);
  read_gqa_heads(r, c, m, 64, 8, 64);
  m.qkv_bias = m.attention_out_bias = r.boolean_or("attention_bias", true);
  m.attention_sinks = true;
  m.sliding_window = c.get("sliding_window", 128, kCountOrZero);
  read_layer_types(r, m, [](int64_t layer) { return layer % 2 == 0; });
  m.ffn = m.expert_ffn = c.get("intermediate_size", 2880);
  m.experts = c.get("num_local_experts", 128, kCountOrZero);
  m.experts_per_token = c.get("num_experts_per_tok", 4);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  read_activation(r, "hidden_act", "silu", true);
  m.activation = Activation::kClippedSwiGlu;
  m.activation_limit = r.number_or("swiglu_limit", 7, {json::kPositive.min, 1e9});
  m.ffn_bias = true;
  // Softmax over the chosen experts: the same as over all, divided by the chosen ones' sum.
  m.router.linear_bias = true;
  m.router.aux_loss = r.number_or("router_aux_loss_coef", 0.9, {0, 1000});
  read_numerics(r, {.norm_eps = 1e-5, .rope_theta = 150000, .max_position_embeddings = 131072}, m);
  if (!r.has("rope_scaling") && !r.has("rope_parameters")) m.rope = default_rope();
}

}  // namespace orrery::hf
