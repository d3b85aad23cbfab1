#include <fmt/format.h>

#include <array>

#include "sim/import/hf_family.h"

namespace orrery::hf {
namespace {

using json::Node;
using json::Range;
using json::Reader;

constexpr Range kFactor{1, 1e6};
constexpr Range kPositiveNumber{json::kPositive.min, 1e9};
constexpr std::array<std::string_view, 4> kRopeTypes = {"default", "linear", "yarn", "llama3"};

bool is_null(Reader& r, std::string_view key) {
  const Node* raw = r.raw(key);
  return raw == nullptr || raw->kind == Node::Kind::kNull;
}

double number_or_null(Reader& r, std::string_view key, double fallback, Range range) {
  return is_null(r, key) ? fallback : r.number(key, range);
}

void refuse_partial_rotation(Reader& r) {
  if (number_or_null(r, "partial_rotary_factor", 1, {}) != 1)
    r.fail("partial_rotary_factor", "expected 1: heads that rotate in part are not supported");
}

void read_yarn(Reader& r, RopeSpec& s) {
  s.beta_fast = number_or_null(r, "beta_fast", s.beta_fast, kPositiveNumber);
  s.beta_slow = number_or_null(r, "beta_slow", s.beta_slow, kPositiveNumber);
  s.mscale = number_or_null(r, "mscale", 0, {0, 100});
  s.mscale_all_dim = number_or_null(r, "mscale_all_dim", 0, {0, 100});
  s.attention_factor = number_or_null(r, "attention_factor", 0, {json::kPositive.min, 100});
  if (s.beta_fast < s.beta_slow)
    r.fail("", fmt::format("beta_fast {:g} is below beta_slow {:g}", s.beta_fast, s.beta_slow));
  if (!r.boolean_or("truncate", true))
    r.fail("truncate", "found false, expected true: YaRN's bounds are rounded to whole dimensions");
}

void read_llama3(Reader& r, RopeSpec& s) {
  s.low_freq_factor = r.number("low_freq_factor", kPositiveNumber);
  s.high_freq_factor = r.number("high_freq_factor", kPositiveNumber);
  if (s.high_freq_factor <= s.low_freq_factor)
    r.fail("", fmt::format("high_freq_factor {:g} is not above low_freq_factor {:g}",
                           s.high_freq_factor, s.low_freq_factor));
}

void read_scaling(Reader& r, int64_t max_position, RopeSpec& s) {
  s.theta = number_or_null(r, "rope_theta", s.theta, kPositiveNumber);
  refuse_partial_rotation(r);
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

RopeSpec read_rope(Reader& r, double default_theta, int64_t max_position) {
  RopeSpec s;
  s.theta = number_or_null(r, "rope_theta", default_theta, kPositiveNumber);
  refuse_partial_rotation(r);
  // Where a file has both, transformers takes the older one, unless it is null.
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    if (is_null(r, key)) continue;
    Reader scaling = r.object(key);
    read_scaling(scaling, max_position, s);
    break;
  }
  return s;
}

void read_numerics(Reader& r, const NumericDefaults& defaults, ModelSpec& m) {
  m.rms_norm_eps = r.number_or("rms_norm_eps", defaults.rms_norm_eps, {json::kPositive.min, 1});
  m.initializer_range = r.number_or("initializer_range", 0.02, json::kFraction);
  m.max_position_embeddings =
      r.integer_or("max_position_embeddings", defaults.max_position_embeddings, kCount);
  m.rope = read_rope(r, defaults.rope_theta, m.max_position_embeddings);

  const std::string act = r.string_or("hidden_act", "silu");
  if (act != "silu")
    r.fail("hidden_act", fmt::format("found \"{}\", expected \"silu\": the only activation of the "
                                     "training graph is SwiGLU",
                                     act));
  refuse_true(r, "attention_bias", "the projections of the training graph have no biases");
  if (number_or_null(r, "attention_dropout", 0, {}) != 0)
    r.fail("attention_dropout", "expected 0: the training graph has no dropout");
}

}  // namespace orrery::hf
