// The families of hf_config.cpp, one file each, and what they share.
#pragma once

#include <string_view>

#include "sim/base/json_reader.h"
#include "sim/spec/model.h"

namespace orrery::hf {

constexpr json::Range kCount{1, 1e9};
constexpr json::Range kCountOrZero{0, 1e9};

// Reads keys that shape the cost, noting those that the file leaves to the family's default.
class ConfigReader {
 public:
  ConfigReader(json::Reader& r, ModelSpec& m) : r_(r), m_(m) {}

  // 0 for null where the range has 0: null is written for an absent feature (q_lora_rank of
  // DeepSeek-V2-Lite).
  int64_t get(std::string_view key, int64_t fallback, json::Range range = kCount);
  // The fallback for null, which is written where a value follows from others (head_dim).
  int64_t get_derived(std::string_view key, int64_t fallback);
  bool get_bool(std::string_view key, bool fallback);

 private:
  json::Reader& r_;
  ModelSpec& m_;
};

// What transformers takes for keys that a family's file leaves out.
struct NumericDefaults {
  double rms_norm_eps;
  double rope_theta;
  int64_t max_position_embeddings;
};

// Keys that every family has and that change values, not costs: norms, initialisation, RoPE.
// Refuses activations, biases and dropout that the training graph does not have.
void read_numerics(json::Reader& r, const NumericDefaults& defaults, ModelSpec& m);

// `rope_theta` with `rope_scaling`, or the newer `rope_parameters` that has both.
RopeSpec read_rope(json::Reader& r, double default_theta, int64_t max_position);

// Refuses true for `key`; `what` says what the training graph does not have.
void refuse_true(json::Reader& r, std::string_view key, std::string_view what);
// Refuses everything but null or absence for `key`.
void refuse_value(json::Reader& r, std::string_view key, std::string_view what);

void read_deepseek_v3(json::Reader& r, ModelSpec& m);
void read_deepseek_inference(json::Reader& r, ModelSpec& m);
void read_llama(json::Reader& r, ModelSpec& m);
void read_mixtral(json::Reader& r, ModelSpec& m);

}  // namespace orrery::hf
