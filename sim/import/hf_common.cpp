#include <fmt/format.h>

#include <array>

#include "sim/import/hf_family.h"

namespace orrery::hf {
namespace {

using json::Node;
using json::Range;
using json::Reader;

constexpr Range kFactor{1, 1e6};
constexpr Range kRotated{json::kPositive.min, 1};
constexpr Range kPositiveNumber{json::kPositive.min, 1e9};
constexpr std::array<std::string_view, 4> kRopeTypes = {"default", "linear", "yarn", "llama3"};

bool is_null(Reader& r, std::string_view key) {
  const Node* raw = r.raw(key);
  return raw == nullptr || raw->kind == Node::Kind::kNull;
}

double number_or_null(Reader& r, std::string_view key, double fallback, Range range) {
  return is_null(r, key) ? fallback : r.number(key, range);
}

void read_yarn(Reader& r, RopeSpec& s) {
  s.beta_fast = number_or_null(r, "beta_fast", s.beta_fast, kPositiveNumber);
  s.beta_slow = number_or_null(r, "beta_slow", s.beta_slow, kPositiveNumber);
  s.mscale = number_or_null(r, "mscale", 0, {0, 100});
  s.mscale_all_dim = number_or_null(r, "mscale_all_dim", 0, {0, 100});
  s.attention_factor = number_or_null(r, "attention_factor", 0, {json::kPositive.min, 100});
  if (s.beta_fast < s.beta_slow)
    r.fail("", fmt::format("beta_fast {:g} is below beta_slow {:g}", s.beta_fast, s.beta_slow));
  s.truncate = r.boolean_or("truncate", true);
}

void read_llama3(Reader& r, RopeSpec& s) {
  s.low_freq_factor = r.number("low_freq_factor", kPositiveNumber);
  s.high_freq_factor = r.number("high_freq_factor", kPositiveNumber);
  if (s.high_freq_factor <= s.low_freq_factor)
    r.fail("", fmt::format("high_freq_factor {:g} is not above low_freq_factor {:g}",
                           s.high_freq_factor, s.low_freq_factor));
}

void read_scaling(Reader& r, int64_t max_position, RopeSpec& s, double& partial) {
  s.theta = number_or_null(r, "rope_theta", s.theta, kPositiveNumber);
  partial = number_or_null(r, "partial_rotary_factor", partial, kRotated);
  // "type" is the older name.
  const std::string_view type = r.has("rope_type") ? "rope_type" : "type";
  s.kind = static_cast<RopeKind>(r.choice_or(type, 0, kRopeTypes));
  if (s.kind == RopeKind::kNone) return;
  s.factor = r.number("factor", kFactor);
  if (s.kind == RopeKind::kLinear) return;
  s.original_max_position = is_null(r, "original_max_position_embeddings")
                                ? max_position
                                : r.integer("original_max_position_embeddings", kCount);
  s.kind == RopeKind::kYarn ? read_yarn(r, s) : read_llama3(r, s);
}

}  // namespace

int64_t ConfigReader::get(std::string_view key, int64_t fallback, Range range) {
  const Node* raw = r_.raw(key);
  if (raw != nullptr && raw->kind == Node::Kind::kNull && range.min <= 0) return 0;
  if (raw != nullptr) return r_.integer(key, range);
  m_.defaulted.push_back(fmt::format("{}={}", key, fallback));
  return fallback;
}

int64_t ConfigReader::get_derived(std::string_view key, int64_t fallback) {
  const Node* raw = r_.raw(key);
  return raw != nullptr && raw->kind == Node::Kind::kNull ? fallback : get(key, fallback);
}

bool ConfigReader::get_bool(std::string_view key, bool fallback) {
  if (!r_.has(key)) m_.defaulted.push_back(fmt::format("{}={}", key, fallback));
  return r_.boolean_or(key, fallback);
}

void refuse_true(Reader& r, std::string_view key, std::string_view what) {
  if (!is_null(r, key) && r.boolean(key))
    r.fail(key, fmt::format("found true, expected false: {}", what));
}

void refuse_value(Reader& r, std::string_view key, std::string_view what) {
  if (!is_null(r, key)) r.fail(key, fmt::format("found a value, expected null: {}", what));
}

void refuse_nonzero(Reader& r, std::string_view key, std::string_view what) {
  if (number_or_null(r, key, 0, {}) != 0) r.fail(key, fmt::format("expected 0: {}", what));
}

RopeSpec read_rope(Reader& r, double default_theta, int64_t max_position, double& partial) {
  RopeSpec s;
  s.theta = number_or_null(r, "rope_theta", default_theta, kPositiveNumber);
  partial = number_or_null(r, "partial_rotary_factor", partial, kRotated);
  // Where a file has both, transformers takes the older one, unless it is null.
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    if (is_null(r, key)) continue;
    Reader scaling = r.object(key);
    read_scaling(scaling, max_position, s, partial);
    break;
  }
  return s;
}

void read_numerics(Reader& r, const NumericDefaults& defaults, ModelSpec& m) {
  m.norm_eps = r.number_or(defaults.norm_eps_key, defaults.norm_eps, {json::kPositive.min, 1});
  m.initializer_range =
      r.number_or("initializer_range", defaults.initializer_range, json::kFraction);
  m.max_position_embeddings =
      r.integer_or("max_position_embeddings", defaults.max_position_embeddings, kCount);
  double partial = defaults.partial_rotary_factor;
  m.rope = read_rope(r, defaults.rope_theta, m.max_position_embeddings, partial);
  if (partial != 1 && m.attention == AttentionKind::kMla)
    r.fail("partial_rotary_factor", "expected 1: latent attention names its rotated dimensions");
  else if (partial != 1)
    m.rotary_dim = static_cast<int64_t>(static_cast<double>(m.qk_nope_dim) * partial);
  refuse_nonzero(r, "attention_dropout", "attention of the training graph has no dropout");
}

Activation read_activation(Reader& r, std::string_view key, std::string_view fallback, bool gated) {
  struct Name {
    std::string_view name;
    Activation activation;
  };
  static constexpr std::array<Name, 8> kNames = {{{"silu", Activation::kSwiGlu},
                                                  {"swish", Activation::kSwiGlu},
                                                  {"gelu", Activation::kGelu},
                                                  {"gelu_new", Activation::kGeluTanh},
                                                  {"gelu_fast", Activation::kGeluTanh},
                                                  {"gelu_pytorch_tanh", Activation::kGeluTanh},
                                                  {"relu2", Activation::kSquaredRelu},
                                                  {"relu_squared", Activation::kSquaredRelu}}};
  const std::string found = r.string_or(key, std::string(fallback));
  std::string expected;
  for (const Name& n : kNames) {
    if (is_gated(n.activation) != gated) continue;
    if (n.name == found) return n.activation;
    expected += fmt::format("{}\"{}\"", expected.empty() ? "" : ", ", n.name);
  }
  r.fail(key, fmt::format("found \"{}\", expected {}: the {} activations of the training graph",
                          found, expected, gated ? "gated" : "ungated"));
  return gated ? Activation::kSwiGlu : Activation::kGelu;
}

void read_layer_types(Reader& r, ModelSpec& m, const std::function<bool(int64_t)>& slides) {
  std::vector<uint8_t> sliding(static_cast<std::size_t>(m.layers), 0);
  if (is_null(r, "layer_types")) {
    for (int64_t i = 0; i < m.layers; ++i) sliding[static_cast<std::size_t>(i)] = slides(i) ? 1 : 0;
  } else {
    const std::vector<std::string> types = r.strings("layer_types");
    if (types.size() != sliding.size())
      r.fail("layer_types", fmt::format("found {} entries, expected one for each of {} layers",
                                        types.size(), m.layers));
    for (std::size_t i = 0; i < types.size() && i < sliding.size(); ++i) {
      sliding[i] = types[i] == "sliding_attention" ? 1 : 0;
      if (types[i] != "sliding_attention" && types[i] != "full_attention")
        r.fail("layer_types", fmt::format("entry {} is \"{}\", expected \"full_attention\" or "
                                          "\"sliding_attention\"",
                                          i, types[i]));
    }
  }
  if (m.sliding_window == 0) return;
  m.sliding_layers = sliding;
}

void read_gqa_heads(Reader& r, ConfigReader& c, ModelSpec& m, int64_t heads, int64_t kv_heads,
                    int64_t head_dim) {
  m.attention = AttentionKind::kGqa;
  m.heads = c.get("num_attention_heads", heads);
  const bool given = r.has("num_key_value_heads") || kv_heads == 0;
  m.kv_heads = given ? c.get_derived("num_key_value_heads", m.heads)
                     : c.get("num_key_value_heads", kv_heads);
  if (head_dim == 0 && is_null(r, "head_dim") && m.heads > 0 && m.hidden % m.heads != 0)
    r.fail("", fmt::format("hidden_size ({}) is not a multiple of num_attention_heads ({}), and "
                           "there is no head_dim",
                           m.hidden, m.heads));
  const int64_t derived = m.heads > 0 ? m.hidden / m.heads : 128;
  m.qk_nope_dim = m.v_dim = is_null(r, "head_dim") && head_dim == 0
                                ? c.get_derived("head_dim", derived)
                                : c.get("head_dim", head_dim);
}

void read_dropout(Reader& r, std::string_view residual, std::string_view embedding, double fallback,
                  ModelSpec& m) {
  m.dropout = number_or_null(r, residual, fallback, {0, 0.99});
  if (number_or_null(r, embedding, m.dropout, {0, 0.99}) != m.dropout)
    r.fail(embedding,
           fmt::format("differs from {}: the training graph has one dropout rate", residual));
}

}  // namespace orrery::hf
