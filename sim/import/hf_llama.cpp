// Llama: dense, grouped-query attention (transformers' LlamaConfig).
#include <fmt/format.h>

#include "sim/import/hf_family.h"

namespace orrery::hf {

void read_llama(json::Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.attention = AttentionKind::kGqa;
  m.hidden = c.get("hidden_size", 4096);
  m.layers = c.get("num_hidden_layers", 32);
  m.vocab = c.get("vocab_size", 32000);
  m.heads = c.get("num_attention_heads", 32);
  m.kv_heads = c.get_derived("num_key_value_heads", m.heads);
  m.qk_nope_dim = m.v_dim = c.get_derived("head_dim", m.heads > 0 ? m.hidden / m.heads : 128);
  m.ffn = c.get("intermediate_size", 11008);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  m.experts = 0;
  m.dense_layers = m.layers;
  if (!r.has("head_dim") && m.heads > 0 && m.hidden % m.heads != 0)
    r.fail("", fmt::format("hidden_size ({}) is not a multiple of num_attention_heads ({}), and "
                           "there is no head_dim",
                           m.hidden, m.heads));
  refuse_true(r, "mlp_bias", "the projections of the training graph have no biases");
  read_numerics(r, {.rms_norm_eps = 1e-6, .rope_theta = 10000, .max_position_embeddings = 2048}, m);
}

}  // namespace orrery::hf
