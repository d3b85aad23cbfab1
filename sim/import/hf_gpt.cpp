// GPT descendants with LayerNorm and an ungated feed-forward block: transformers' FalconConfig,
// GPT2Config, GPTNeoXConfig, MptConfig, NemotronConfig and Starcoder2Config.
#include <fmt/format.h>

#include "sim/import/hf_family.h"

namespace orrery::hf {
namespace {

using json::Node;
using json::Reader;

constexpr json::Range kSmall{json::kPositive.min, 1};

void layer_norm(ModelSpec& m, bool bias) {
  m.norm = NormKind::kLayerNorm;
  m.norm_bias = bias;
}

void all_biases(ModelSpec& m, bool bias) { m.qkv_bias = m.attention_out_bias = m.ffn_bias = bias; }

void multi_head(Reader& r, ModelSpec& m, std::string_view heads_key) {
  m.attention = AttentionKind::kGqa;
  m.kv_heads = m.heads;
  if (m.heads > 0 && m.hidden % m.heads != 0)
    r.fail(heads_key, fmt::format("{} heads do not divide the hidden size {}", m.heads, m.hidden));
  m.qk_nope_dim = m.v_dim = m.heads > 0 ? m.hidden / m.heads : 64;
}

}  // namespace

void read_falcon(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 4544);
  m.layers = m.dense_layers = c.get("num_hidden_layers", 32);
  m.heads = c.get("num_attention_heads", 71);
  m.vocab = c.get("vocab_size", 65024);
  multi_head(r, m, "num_attention_heads");
  const bool grouped = c.get_bool("new_decoder_architecture", false);
  if (grouped)
    m.kv_heads = c.get_derived("num_kv_heads", m.heads);
  else if (c.get_bool("multi_query", true))
    m.kv_heads = 1;
  m.ffn = c.get_derived("ffn_hidden_size", 4 * m.hidden);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", true);
  layer_norm(m, true);
  all_biases(m, r.boolean_or("bias", false));
  const Node* norms = r.raw("num_ln_in_parallel_attn");
  const bool given = norms != nullptr && norms->kind != Node::Kind::kNull;
  const bool two = grouped && (!given || r.integer("num_ln_in_parallel_attn", {1, 2}) == 2);
  if (two)
    m.block = BlockForm::kParallel;
  else if (grouped || c.get_bool("parallel_attn", true))
    m.block = BlockForm::kParallelOneNorm;
  m.activation = read_activation(r, "activation", "gelu", false);
  read_dropout(r, "hidden_dropout", "hidden_dropout", 0, m);
  if (r.boolean_or("alibi", false)) m.position = PositionKind::kAlibi;
  read_numerics(r,
                {.norm_eps = 1e-5,
                 .rope_theta = 10000,
                 .max_position_embeddings = 2048,
                 .norm_eps_key = "layer_norm_epsilon"},
                m);
}

void read_gpt2(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("n_embd", 768);
  m.layers = m.dense_layers = c.get("n_layer", 12);
  m.heads = c.get("n_head", 12);
  m.vocab = c.get("vocab_size", 50257);
  multi_head(r, m, "n_head");
  const Node* inner = r.raw("n_inner");
  const bool derived = inner == nullptr || inner->kind == Node::Kind::kNull;
  m.ffn = derived ? 4 * m.hidden : r.integer("n_inner", kCount);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", true);
  layer_norm(m, true);
  all_biases(m, true);
  m.position = PositionKind::kLearned;
  m.max_position_embeddings = c.get("n_positions", 1024);
  m.activation = read_activation(r, "activation_function", "gelu_new", false);
  m.norm_eps = r.number_or("layer_norm_epsilon", 1e-5, kSmall);
  m.initializer_range = r.number_or("initializer_range", 0.02, json::kFraction);
  read_dropout(r, "resid_pdrop", "embd_pdrop", 0.1, m);
  // Flash attention, as the graph has it, is trained without dropout of its probabilities.
  r.ignore("attn_pdrop");
}

void read_gpt_neox(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 6144);
  m.layers = m.dense_layers = c.get("num_hidden_layers", 44);
  m.heads = c.get("num_attention_heads", 64);
  m.vocab = c.get("vocab_size", 50432);
  multi_head(r, m, "num_attention_heads");
  m.ffn = c.get("intermediate_size", 24576);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  layer_norm(m, true);
  all_biases(m, true);
  m.qkv_bias = m.attention_out_bias = r.boolean_or("attention_bias", true);
  if (c.get_bool("use_parallel_residual", true)) m.block = BlockForm::kParallel;
  m.activation = read_activation(r, "hidden_act", "gelu", false);
  read_dropout(r, "hidden_dropout", "hidden_dropout", 0, m);
  const double theta = r.number_or("rotary_emb_base", 10000, {json::kPositive.min, 1e9});
  read_numerics(r,
                {.norm_eps = 1e-5,
                 .rope_theta = theta,
                 .max_position_embeddings = 2048,
                 .norm_eps_key = "layer_norm_eps",
                 .partial_rotary_factor = r.number_or("rotary_pct", 0.25, kSmall)},
                m);
}

void read_mpt(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("d_model", 2048);
  m.layers = m.dense_layers = c.get("n_layers", 24);
  m.heads = c.get("n_heads", 16);
  m.vocab = c.get("vocab_size", 50368);
  multi_head(r, m, "n_heads");
  m.ffn = m.hidden * c.get("expansion_ratio", 4);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", true);
  const bool biases = !c.get_bool("no_bias", true);
  layer_norm(m, biases);
  all_biases(m, biases);
  m.activation = Activation::kGelu;
  m.max_position_embeddings = c.get("max_seq_len", 2048);
  bool alibi = true;
  if (r.has("attn_config")) {
    Reader a = r.object("attn_config");
    alibi = a.boolean_or("alibi", true);
    refuse_true(a, "qk_ln", "the training graph has no LayerNorm of queries and keys");
    refuse_true(a, "prefix_lm", "the training graph has causal attention only");
    refuse_value(a, "clip_qkv", "the training graph does not clip queries, keys and values");
    refuse_value(a, "softmax_scale", "scores are scaled by 1/sqrt(head dimension)");
    refuse_nonzero(a, "attn_pdrop", "attention of the training graph has no dropout");
    if (a.string_or("attn_type", "multihead_attention") == "multiquery_attention") m.kv_heads = 1;
  }
  const bool learned = r.boolean_or("learned_pos_emb", true);
  m.position =
      alibi ? PositionKind::kAlibi : (learned ? PositionKind::kLearned : PositionKind::kNone);
  m.norm_eps = r.number_or("layer_norm_epsilon", 1e-5, kSmall);
  m.initializer_range = r.number_or("initializer_range", 0.02, json::kFraction);
  refuse_value(r, "logit_scale", "the training graph does not scale logits");
  read_dropout(r, "resid_pdrop", "emb_pdrop", 0, m);
}

void read_nemotron(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 6144);
  m.layers = m.dense_layers = c.get("num_hidden_layers", 32);
  m.vocab = c.get("vocab_size", 256000);
  read_gqa_heads(r, c, m, 48, 0, 0);
  m.ffn = c.get("intermediate_size", 24576);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  layer_norm(m, true);  // its weight is stored less 1
  m.qkv_bias = m.attention_out_bias = r.boolean_or("attention_bias", false);
  m.ffn_bias = r.boolean_or("mlp_bias", false);
  m.activation = read_activation(r, "hidden_act", "relu2", false);
  read_numerics(r,
                {.norm_eps = 1e-5,
                 .rope_theta = 10000,
                 .max_position_embeddings = 4096,
                 .norm_eps_key = "norm_eps",
                 .initializer_range = 0.0134,
                 .partial_rotary_factor = 0.5},
                m);
}

void read_starcoder2(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.hidden = c.get("hidden_size", 3072);
  m.layers = m.dense_layers = c.get("num_hidden_layers", 30);
  m.vocab = c.get("vocab_size", 49152);
  read_gqa_heads(r, c, m, 24, 2, 0);
  m.ffn = c.get("intermediate_size", 12288);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", true);
  layer_norm(m, true);
  all_biases(m, r.boolean_or("use_bias", true));
  m.activation = read_activation(r, "hidden_act", "gelu_pytorch_tanh", false);
  m.sliding_window = c.get("sliding_window", 0, kCountOrZero);
  read_layer_types(r, m, [](int64_t) { return true; });
  read_dropout(r, "residual_dropout", "embedding_dropout", 0, m);
  read_numerics(r,
                {.norm_eps = 1e-5,
                 .rope_theta = 10000,
                 .max_position_embeddings = 4096,
                 .norm_eps_key = "norm_epsilon",
                 .initializer_range = 0.018042},
                m);
}

}  // namespace orrery::hf
