#include "sim/spec/model_json.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

namespace orrery {
namespace {

using json::Range;
using json::Reader;
using Json = nlohmann::ordered_json;

constexpr Range kCount{1, 1e9};
constexpr Range kCountOrZero{0, 1e9};
constexpr Range kPositiveNumber{json::kPositive.min, 1e9};
constexpr std::array<std::string_view, 2> kAttentionNames = {"mla", "gqa"};
constexpr std::array<std::string_view, 4> kRopeNames = {"default", "linear", "yarn", "llama3"};
constexpr std::array<std::string_view, 2> kScoreNames = {"sigmoid", "softmax"};

template <class E, std::size_t N>
std::string name_of(E e, const std::string_view (&names)[N]) {
  return std::string(names[static_cast<std::size_t>(e)]);
}
template <class E, std::size_t N>
std::string name_of(E e, const std::array<std::string_view, N>& names) {
  return std::string(names[static_cast<std::size_t>(e)]);
}

void read_mla(Reader& r, ModelSpec& m) {
  m.q_lora_rank = r.integer("q_lora_rank", kCountOrZero);
  m.kv_lora_rank = r.integer("kv_lora_rank", kCount);
  m.qk_nope_dim = r.integer("qk_nope_head_dim", kCount);
  m.qk_rope_dim = r.integer("qk_rope_head_dim", kCount);
  m.v_dim = r.integer("v_head_dim", kCount);
}

void read_sliding(Reader& r, ModelSpec& m) {
  m.sliding_window = r.integer_or("sliding_window", 0, kCountOrZero);
  const bool some = r.has("sliding_layers");
  std::vector<int64_t> layers;
  if (some) layers = r.integers("sliding_layers", {0, static_cast<double>(m.layers - 1)});
  if (m.sliding_window == 0) return;
  m.sliding_layers.assign(static_cast<std::size_t>(m.layers), some ? 0 : 1);
  for (const int64_t layer : layers) m.sliding_layers[static_cast<std::size_t>(layer)] = 1;
}

void read_gqa(Reader& r, ModelSpec& m) {
  m.kv_heads = r.integer_or("num_key_value_heads", m.heads, kCount);
  if (!r.has("head_dim") && m.hidden % m.heads != 0)
    r.fail("", fmt::format("hidden_size ({}) is not a multiple of num_attention_heads ({}), and "
                           "there is no head_dim",
                           m.hidden, m.heads));
  m.qk_nope_dim = r.integer_or("head_dim", m.hidden / m.heads, kCount);
  m.v_dim = r.integer_or("v_head_dim", m.qk_nope_dim, kCount);
  m.qk_norm = r.boolean_or("qk_norm", false);
  m.qkv_bias = r.boolean_or("qkv_bias", false);
  m.attention_sinks = r.boolean_or("attention_sinks", false);
  m.rotary_dim = r.integer_or("rotary_dim", 0, kCountOrZero);
  read_sliding(r, m);
}

RopeSpec read_rope_spec(Reader r) {
  RopeSpec s;
  s.theta = r.number_or("theta", s.theta, kPositiveNumber);
  s.kind = static_cast<RopeKind>(r.choice_or("kind", 0, kRopeNames));
  s.interleaved = r.boolean_or("interleaved", false);
  s.factor = r.number_or("factor", 1, {1, 1e6});
  s.beta_fast = r.number_or("beta_fast", s.beta_fast, kPositiveNumber);
  s.beta_slow = r.number_or("beta_slow", s.beta_slow, kPositiveNumber);
  s.mscale = r.number_or("mscale", 0, {0, 100});
  s.mscale_all_dim = r.number_or("mscale_all_dim", 0, {0, 100});
  s.attention_factor = r.number_or("attention_factor", 0, {0, 100});
  s.truncate = r.boolean_or("truncate", true);
  s.low_freq_factor = r.number_or("low_freq_factor", 1, kPositiveNumber);
  s.high_freq_factor = r.number_or("high_freq_factor", 4, kPositiveNumber);
  s.original_max_position = r.integer_or("original_max_position", 0, kCountOrZero);
  if (s.kind == RopeKind::kYarn || s.kind == RopeKind::kLlama3)
    if (s.original_max_position == 0)
      r.fail("", "kinds yarn and llama3 need original_max_position");
  r.finish();
  return s;
}

void read_position(Reader& r, ModelSpec& m) {
  m.position = static_cast<PositionKind>(r.choice("position", kPositionNames));
  const bool learned = m.position == PositionKind::kLearned;
  m.max_position_embeddings = learned ? r.integer("max_position_embeddings", kCount)
                                      : r.integer_or("max_position_embeddings", 0, kCountOrZero);
  if (r.has("rope")) m.rope = read_rope_spec(r.object("rope"));
}

void read_moe(Reader r, ModelSpec& m) {
  m.experts = r.integer("experts", kCount);
  m.experts_per_token = r.integer("experts_per_token", kCount);
  m.expert_ffn = r.integer("expert_intermediate_size", kCount);
  m.shared_experts = r.integer_or("shared_experts", 0, kCountOrZero);
  m.shared_ffn = r.integer_or("shared_intermediate_size", 0, kCountOrZero);
  m.shared_gate = r.boolean_or("shared_gate", false);
  m.dense_layers = r.integer_or("dense_layers", 0, kCountOrZero);
  m.moe_layer_freq = r.integer_or("layer_freq", 1, kCount);
  m.moe_layer_offset = r.integer_or("layer_offset", 0, kCountOrZero);
  if (r.has("dense_layer_list")) m.dense_layer_list = r.integers("dense_layer_list", kCountOrZero);
  m.expert_groups = r.integer_or("groups", 1, kCount);
  m.top_groups = r.integer_or("top_groups", 1, kCount);
  m.router.score = static_cast<RouterScore>(r.choice_or("score", 1, kScoreNames));
  m.router.norm_topk_prob = r.boolean_or("norm_topk_prob", true);
  m.router.routed_scaling_factor =
      r.number_or("routed_scaling_factor", 1, {json::kPositive.min, 1000});
  m.router.bias = r.boolean_or("bias_balancing", false);
  m.router.linear_bias = r.boolean_or("linear_bias", false);
  m.router.aux_loss = r.number_or("aux_loss", 0, {0, 1000});
  m.router.capacity_factor = r.number_or("capacity_factor", 0, {0, 1000});
  m.router.pad_to_capacity = r.boolean_or("pad_to_capacity", false);
  r.finish();
}

Json rope_json(const RopeSpec& s) {
  return {{"theta", s.theta},
          {"kind", name_of(s.kind, kRopeNames)},
          {"interleaved", s.interleaved},
          {"factor", s.factor},
          {"beta_fast", s.beta_fast},
          {"beta_slow", s.beta_slow},
          {"mscale", s.mscale},
          {"mscale_all_dim", s.mscale_all_dim},
          {"attention_factor", s.attention_factor},
          {"truncate", s.truncate},
          {"low_freq_factor", s.low_freq_factor},
          {"high_freq_factor", s.high_freq_factor},
          {"original_max_position", s.original_max_position}};
}

Json moe_json(const ModelSpec& m) {
  return {{"experts", m.experts},
          {"experts_per_token", m.experts_per_token},
          {"expert_intermediate_size", m.expert_ffn},
          {"shared_experts", m.shared_experts},
          {"shared_intermediate_size", m.shared_ffn},
          {"shared_gate", m.shared_gate},
          {"dense_layers", m.dense_layers},
          {"layer_freq", m.moe_layer_freq},
          {"layer_offset", m.moe_layer_offset},
          {"dense_layer_list", m.dense_layer_list},
          {"groups", m.expert_groups},
          {"top_groups", m.top_groups},
          {"score", name_of(m.router.score, kScoreNames)},
          {"norm_topk_prob", m.router.norm_topk_prob},
          {"routed_scaling_factor", m.router.routed_scaling_factor},
          {"bias_balancing", m.router.bias},
          {"linear_bias", m.router.linear_bias},
          {"aux_loss", m.router.aux_loss},
          {"capacity_factor", m.router.capacity_factor},
          {"pad_to_capacity", m.router.pad_to_capacity}};
}

void attention_json(const ModelSpec& m, Json& j) {
  j["attention"] = name_of(m.attention, kAttentionNames);
  j["num_attention_heads"] = m.heads;
  j["v_head_dim"] = m.v_dim;
  j["attention_out_bias"] = m.attention_out_bias;
  if (m.attention == AttentionKind::kMla) {
    j["q_lora_rank"] = m.q_lora_rank;
    j["kv_lora_rank"] = m.kv_lora_rank;
    j["qk_nope_head_dim"] = m.qk_nope_dim;
    j["qk_rope_head_dim"] = m.qk_rope_dim;
    return;
  }
  j["num_key_value_heads"] = m.kv_heads;
  j["head_dim"] = m.qk_nope_dim;
  j["qk_norm"] = m.qk_norm;
  j["qkv_bias"] = m.qkv_bias;
  j["attention_sinks"] = m.attention_sinks;
  j["rotary_dim"] = m.rotary_dim;
  if (m.sliding_window == 0) return;
  j["sliding_window"] = m.sliding_window;
  j["sliding_layers"] = Json::array();
  for (int64_t layer = 0; layer < m.layers; ++layer)
    if (m.window(layer) > 0) j["sliding_layers"].push_back(layer);
}

}  // namespace

void read_model_json(Reader& r, ModelSpec& m) {
  m.hidden = r.integer("hidden_size", kCount);
  m.layers = r.integer("num_hidden_layers", kCount);
  m.vocab = r.integer("vocab_size", kCount);
  m.tied_embeddings = r.boolean_or("tie_word_embeddings", false);
  m.norm = static_cast<NormKind>(r.choice("norm", kNormNames));
  m.norm_bias = r.boolean_or("norm_bias", false);
  m.norm_eps = r.number_or("norm_eps", 1e-5, {json::kPositive.min, 1});
  m.block = static_cast<BlockForm>(r.choice_or("block", 0, kBlockFormNames));
  m.attention = static_cast<AttentionKind>(r.choice_or("attention", 1, kAttentionNames));
  m.heads = r.integer("num_attention_heads", kCount);
  m.attention_out_bias = r.boolean_or("attention_out_bias", false);
  m.attention == AttentionKind::kMla ? read_mla(r, m) : read_gqa(r, m);
  read_position(r, m);
  m.activation = static_cast<Activation>(r.choice("activation", kActivationNames));
  m.activation_limit = r.number_or("activation_limit", 7, kPositiveNumber);
  m.ffn_bias = r.boolean_or("ffn_bias", false);
  m.dense_layers = m.layers;
  if (r.has("moe")) read_moe(r.object("moe"), m);
  const bool dense = m.moe_layers() < m.layers;
  m.ffn = dense ? r.integer("intermediate_size", kCount)
                : r.integer_or("intermediate_size", m.expert_ffn, kCountOrZero);
  m.mtp_layers = r.integer_or("mtp_layers", 0, kCountOrZero);
  m.dropout = r.number_or("dropout", 0, {0, 0.99});
  m.attention_dropout = r.number_or("attention_dropout", 0, {0, 0.99});
  if (m.attention_dropout > 0 && m.attention == AttentionKind::kMla)
    r.fail("attention_dropout", "expected 0: latent attention keeps all its probabilities");
  m.initializer_range = r.number_or("initializer_range", 0.02, json::kFraction);
  r.ignore("model_type");
  r.ignore("note");
  r.finish();
}

std::string model_to_json(const ModelSpec& m) {
  Json j = {{"model_type", "orrery"},
            {"hidden_size", m.hidden},
            {"num_hidden_layers", m.layers},
            {"vocab_size", m.vocab},
            {"tie_word_embeddings", m.tied_embeddings},
            {"norm", name_of(m.norm, kNormNames)},
            {"norm_bias", m.norm_bias},
            {"norm_eps", m.norm_eps},
            {"block", name_of(m.block, kBlockFormNames)}};
  attention_json(m, j);
  j["position"] = name_of(m.position, kPositionNames);
  j["max_position_embeddings"] = m.max_position_embeddings;
  j["rope"] = rope_json(m.rope);
  j["activation"] = name_of(m.activation, kActivationNames);
  j["activation_limit"] = m.activation_limit;
  j["ffn_bias"] = m.ffn_bias;
  j["intermediate_size"] = m.ffn;
  if (m.experts > 0) j["moe"] = moe_json(m);
  j["mtp_layers"] = m.mtp_layers;
  j["dropout"] = m.dropout;
  j["attention_dropout"] = m.attention_dropout;
  j["initializer_range"] = m.initializer_range;
  return j.dump(2) + "\n";
}

}  // namespace orrery
