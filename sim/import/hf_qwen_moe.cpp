// Qwen's mixtures of experts: transformers' Qwen2MoeConfig and Qwen3MoeConfig.
#include "sim/import/hf_family.h"

namespace orrery::hf {
namespace {

using json::Node;
using json::Reader;

// Layer i is MoE if (i + 1) is a multiple of decoder_sparse_step and it is not listed as dense.
void read_moe_layers(Reader& r, ConfigReader& c, ModelSpec& m) {
  m.moe_layer_freq = c.get("decoder_sparse_step", 1);
  m.moe_layer_offset = 1;
  const Node* dense = r.raw("mlp_only_layers");
  if (dense != nullptr && dense->kind != Node::Kind::kNull)
    m.dense_layer_list = r.integers("mlp_only_layers", {0, static_cast<double>(m.layers - 1)});
}

void read_moe(Reader& r, ConfigReader& c, ModelSpec& m, int64_t experts, int64_t per_token) {
  m.experts = c.get("num_experts", experts, kCountOrZero);
  m.experts_per_token = c.get("num_experts_per_tok", per_token);
  m.router.norm_topk_prob = r.boolean_or("norm_topk_prob", false);
  m.router.aux_loss = r.number_or("router_aux_loss_coef", 0.001, {0, 1000});
  m.activation = read_activation(r, "hidden_act", "silu", true);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  read_moe_layers(r, c, m);
}

void read_window(Reader& r, ModelSpec& m, bool alternate) {
  const int64_t last = r.integer_or("max_window_layers", 28, kCountOrZero);
  if (r.boolean_or("use_sliding_window", false))
    m.sliding_window = r.integer_or("sliding_window", 4096, kCount);
  read_layer_types(r, m, [&](int64_t i) { return !alternate || ((i + 1) % 2 != 0 && i < last); });
}

}  // namespace

void read_qwen2_moe(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 2048);
  m.layers = c.get("num_hidden_layers", 24);
  m.vocab = c.get("vocab_size", 151936);
  read_gqa_heads(r, c, m, 16, 16, 0);
  m.qkv_bias = r.boolean_or("qkv_bias", true);
  m.ffn = c.get("intermediate_size", 5632);
  m.expert_ffn = c.get("moe_intermediate_size", 1408);
  read_moe(r, c, m, 60, 4);
  m.shared_experts = 1;
  m.shared_ffn = c.get("shared_expert_intermediate_size", 5632);
  m.shared_gate = true;
  read_window(r, m, true);
  read_numerics(r, {.norm_eps = 1e-6, .rope_theta = 10000, .max_position_embeddings = 32768}, m);
}

void read_qwen3_moe(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 2048);
  m.layers = c.get("num_hidden_layers", 24);
  m.vocab = c.get("vocab_size", 151936);
  read_gqa_heads(r, c, m, 32, 4, 0);
  m.qk_norm = true;
  m.qkv_bias = m.attention_out_bias = r.boolean_or("attention_bias", false);
  m.ffn = c.get("intermediate_size", 6144);
  m.expert_ffn = c.get("moe_intermediate_size", 768);
  read_moe(r, c, m, 128, 8);
  read_window(r, m, false);
  read_numerics(r, {.norm_eps = 1e-6, .rope_theta = 10000, .max_position_embeddings = 32768}, m);
}

}  // namespace orrery::hf
