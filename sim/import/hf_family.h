// The families of hf_config.cpp, one file each, and what they share.
#pragma once

#include <functional>
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
  double norm_eps;
  double rope_theta;
  int64_t max_position_embeddings;
  std::string_view norm_eps_key = "rms_norm_eps";
  double initializer_range = 0.02;
  double partial_rotary_factor = 1;
};

// Keys that every family with rotary positions has and that change values, not costs: norms,
// initialisation, RoPE. Refuses dropout of attention probabilities.
void read_numerics(json::Reader& r, const NumericDefaults& defaults, ModelSpec& m);

// `rope_theta` with `rope_scaling`, or the newer `rope_parameters` that has both. The fraction of a
// head that is rotated, 1 unless the file or the family says otherwise, comes in `partial`.
RopeSpec read_rope(json::Reader& r, double default_theta, int64_t max_position, double& partial);

// An activation by transformers' names ("silu", "gelu", "gelu_new", "relu2"...) among those that
// the family's block can have.
Activation read_activation(json::Reader& r, std::string_view key, std::string_view fallback,
                           bool gated);

// `layer_types`, or without it by `slides` which layers have the window `m.sliding_window`.
void read_layer_types(json::Reader& r, ModelSpec& m, const std::function<bool(int64_t)>& slides);

// Heads by their usual keys; `kv_heads` 0: as many as heads; `head_dim` 0: hidden / heads.
void read_gqa_heads(json::Reader& r, ConfigReader& c, ModelSpec& m, int64_t heads, int64_t kv_heads,
                    int64_t head_dim);

// Residual and embedding dropout by two keys, which must agree where both are there.
void read_dropout(json::Reader& r, std::string_view residual, std::string_view embedding,
                  double fallback, ModelSpec& m);

// Refuses true for `key`; `what` says what the training graph does not have.
void refuse_true(json::Reader& r, std::string_view key, std::string_view what);
// Refuses everything but null or absence for `key`.
void refuse_value(json::Reader& r, std::string_view key, std::string_view what);
// Refuses everything but 0, null or absence.
void refuse_nonzero(json::Reader& r, std::string_view key, std::string_view what);

void read_deepseek_v2(json::Reader& r, ModelSpec& m);
void read_deepseek_v3(json::Reader& r, ModelSpec& m);  // and kimi_k2
void read_deepseek_inference(json::Reader& r, ModelSpec& m);
void read_llama(json::Reader& r, ModelSpec& m);
void read_mistral(json::Reader& r, ModelSpec& m);
void read_mixtral(json::Reader& r, ModelSpec& m);
void read_phi3(json::Reader& r, ModelSpec& m);
void read_qwen2(json::Reader& r, ModelSpec& m);
void read_qwen3(json::Reader& r, ModelSpec& m);
void read_qwen2_moe(json::Reader& r, ModelSpec& m);
void read_qwen3_moe(json::Reader& r, ModelSpec& m);
void read_glm4_moe(json::Reader& r, ModelSpec& m);
void read_ernie4_5_moe(json::Reader& r, ModelSpec& m);
void read_gpt_oss(json::Reader& r, ModelSpec& m);
void read_falcon(json::Reader& r, ModelSpec& m);
void read_gpt2(json::Reader& r, ModelSpec& m);
void read_gpt_neox(json::Reader& r, ModelSpec& m);
void read_mpt(json::Reader& r, ModelSpec& m);
void read_nemotron(json::Reader& r, ModelSpec& m);
void read_starcoder2(json::Reader& r, ModelSpec& m);

}  // namespace orrery::hf
