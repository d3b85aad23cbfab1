// Dense models with grouped-query attention, RMSNorm, SwiGLU and RoPE: transformers' LlamaConfig,
// MistralConfig, Phi3Config, Qwen2Config and Qwen3Config.
#include "sim/import/hf_family.h"

namespace orrery::hf {
namespace {

using json::Reader;

// Shapes under the keys that all share; what they default to differs.
struct DenseDefaults {
  int64_t vocab, ffn, kv_heads, head_dim;
};
void read_dense(Reader& r, ConfigReader& c, const DenseDefaults& d, ModelSpec& m) {
  m.hidden = c.get("hidden_size", 4096);
  m.layers = m.dense_layers = c.get("num_hidden_layers", 32);
  m.vocab = c.get("vocab_size", d.vocab);
  read_gqa_heads(r, c, m, 32, d.kv_heads, d.head_dim);
  m.ffn = c.get("intermediate_size", d.ffn);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  m.activation = read_activation(r, "hidden_act", "silu", true);
}

// Qwen's window is off unless use_sliding_window, and then starts at a layer.
void read_qwen_window(Reader& r, ModelSpec& m) {
  const bool uses = r.boolean_or("use_sliding_window", false);
  const json::Node* window = r.raw("sliding_window");
  const bool null = window != nullptr && window->kind == json::Node::Kind::kNull;
  const int64_t first = r.integer_or("max_window_layers", 28, kCountOrZero);
  if (uses && !null) m.sliding_window = r.integer_or("sliding_window", 4096, kCount);
  read_layer_types(r, m, [&](int64_t layer) { return layer >= first; });
}

}  // namespace

void read_llama(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  read_dense(r, c, {.vocab = 32000, .ffn = 11008, .kv_heads = 0, .head_dim = 0}, m);
  m.qkv_bias = m.attention_out_bias = r.boolean_or("attention_bias", false);
  m.ffn_bias = r.boolean_or("mlp_bias", false);
  read_numerics(r, {.norm_eps = 1e-6, .rope_theta = 10000, .max_position_embeddings = 2048}, m);
}

void read_mistral(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  read_dense(r, c, {.vocab = 32000, .ffn = 14336, .kv_heads = 8, .head_dim = 0}, m);
  m.sliding_window = c.get("sliding_window", 4096, kCountOrZero);
  read_layer_types(r, m, [](int64_t) { return true; });
  read_numerics(r, {.norm_eps = 1e-6, .rope_theta = 10000, .max_position_embeddings = 131072}, m);
}

// Its QKV and its gate and up projections are one matrix each, as in the training graph.
void read_phi3(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 3072);
  m.layers = m.dense_layers = c.get("num_hidden_layers", 32);
  m.vocab = c.get("vocab_size", 32064);
  read_gqa_heads(r, c, m, 32, 0, 0);
  m.ffn = c.get("intermediate_size", 8192);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  m.activation = read_activation(r, "hidden_act", "silu", true);
  m.sliding_window = c.get("sliding_window", 0, kCountOrZero);
  read_layer_types(r, m, [](int64_t) { return true; });
  read_dropout(r, "resid_pdrop", "embd_pdrop", 0, m);
  read_numerics(r, {.norm_eps = 1e-5, .rope_theta = 10000, .max_position_embeddings = 4096}, m);
}

void read_qwen2(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  read_dense(r, c, {.vocab = 151936, .ffn = 22016, .kv_heads = 32, .head_dim = 0}, m);
  m.qkv_bias = true;  // always in its code
  read_qwen_window(r, m);
  read_numerics(r, {.norm_eps = 1e-6, .rope_theta = 10000, .max_position_embeddings = 32768}, m);
}

void read_qwen3(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  read_dense(r, c, {.vocab = 151936, .ffn = 22016, .kv_heads = 32, .head_dim = 128}, m);
  m.qk_norm = true;
  m.qkv_bias = m.attention_out_bias = r.boolean_or("attention_bias", false);
  read_qwen_window(r, m);
  read_numerics(r, {.norm_eps = 1e-6, .rope_theta = 10000, .max_position_embeddings = 32768}, m);
}

}  // namespace orrery::hf
