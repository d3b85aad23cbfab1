// ERNIE 4.5's mixtures of experts of text: grouped-query attention, softmax router with a balancing
// bias (transformers' Ernie4_5_MoeConfig).
#include "sim/import/hf_family.h"

namespace orrery::hf {
namespace {

// Layer i is MoE between two layers, both included, if (i + 1) is a multiple of the interval. An
// end of -1 or null is the last layer.
void read_layers_with_experts(json::Reader& r, ConfigReader& c, ModelSpec& m) {
  m.dense_layers = c.get("moe_layer_start_index", 1, kCountOrZero);
  m.moe_layer_freq = c.get("moe_layer_interval", 1);
  m.moe_layer_offset = 1;
  const json::Node* end = r.raw("moe_layer_end_index");
  if (end == nullptr || end->kind == json::Node::Kind::kNull) return;
  const int64_t last = r.integer("moe_layer_end_index", {-1, 1e9});
  for (int64_t i = last + 1; last >= 0 && i < m.layers; ++i) m.dense_layer_list.push_back(i);
}

}  // namespace

void read_ernie4_5_moe(json::Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 2560);
  m.layers = c.get("num_hidden_layers", 28);
  m.vocab = c.get("vocab_size", 103424);
  read_gqa_heads(r, c, m, 20, 4, 0);
  m.qkv_bias = m.attention_out_bias = m.ffn_bias = r.boolean_or("use_bias", false);
  m.ffn = c.get("intermediate_size", 12288);
  m.expert_ffn = c.get("moe_intermediate_size", 1536);
  m.experts = c.get("moe_num_experts", 64, kCountOrZero);
  m.experts_per_token = c.get("moe_k", 6);
  m.shared_experts = c.get("moe_num_shared_experts", 2, kCountOrZero);
  read_layers_with_experts(r, c, m);
  // Its code divides the chosen weights by their sum, without an option.
  m.router.bias = true;
  m.router.aux_loss = r.number_or("router_aux_loss_coef", 0.001, {0, 1000});
  m.tied_embeddings = c.get_bool("tie_word_embeddings", true);
  m.activation = read_activation(r, "hidden_act", "silu", true);
  read_numerics(r, {.norm_eps = 1e-5, .rope_theta = 500000, .max_position_embeddings = 131072}, m);
  m.rope.interleaved = true;
}

}  // namespace orrery::hf
