// Mixtral: grouped-query attention, every layer MoE (transformers' MixtralConfig).
#include "sim/import/hf_family.h"

namespace orrery::hf {

void read_mixtral(json::Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.attention = AttentionKind::kGqa;
  m.hidden = c.get("hidden_size", 4096);
  m.layers = c.get("num_hidden_layers", 32);
  m.vocab = c.get("vocab_size", 32000);
  m.heads = c.get("num_attention_heads", 32);
  m.kv_heads = r.has("num_key_value_heads") ? c.get_derived("num_key_value_heads", m.heads)
                                            : c.get("num_key_value_heads", 8);
  m.qk_nope_dim = m.v_dim = c.get_derived("head_dim", m.heads > 0 ? m.hidden / m.heads : 128);
  m.expert_ffn = m.ffn = c.get("intermediate_size", 14336);
  m.experts = c.get("num_local_experts", 8, kCountOrZero);
  m.experts_per_token = c.get("num_experts_per_tok", 2);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  // Its code has no other router: softmax, the best k, weights divided by their sum.
  m.router = {.score = RouterScore::kSoftmax,
              .norm_topk_prob = true,
              .routed_scaling_factor = 1,
              .bias = false};
  refuse_value(r, "sliding_window", "only attention over the whole prefix is supported");
  read_numerics(r, {.rms_norm_eps = 1e-5, .rope_theta = 1e6, .max_position_embeddings = 131072}, m);
}

}  // namespace orrery::hf
