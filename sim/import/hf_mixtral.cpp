// Mixtral: grouped-query attention, every layer MoE (transformers' MixtralConfig).
#include "sim/import/hf_family.h"

namespace orrery::hf {

void read_mixtral(json::Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 4096);
  m.layers = c.get("num_hidden_layers", 32);
  m.vocab = c.get("vocab_size", 32000);
  read_gqa_heads(r, c, m, 32, 8, 0);
  m.expert_ffn = m.ffn = c.get("intermediate_size", 14336);
  m.experts = c.get("num_local_experts", 8, kCountOrZero);
  m.experts_per_token = c.get("num_experts_per_tok", 2);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  m.activation = read_activation(r, "hidden_act", "silu", true);
  // Its code has no other router: softmax, the best k, weights divided by their sum.
  m.router.aux_loss = r.number_or("router_aux_loss_coef", 0.001, {0, 1000});
  if (const json::Node* w = r.raw("sliding_window");
      w != nullptr && w->kind != json::Node::Kind::kNull)
    m.sliding_window = r.integer("sliding_window", kCount);
  read_layer_types(r, m, [](int64_t) { return true; });
  read_numerics(r, {.norm_eps = 1e-5, .rope_theta = 1e6, .max_position_embeddings = 131072}, m);
}

}  // namespace orrery::hf
