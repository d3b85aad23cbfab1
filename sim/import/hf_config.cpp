#include "sim/import/hf_config.h"

#include <fmt/format.h>

#include <array>

namespace orrery {
namespace {

using json::Node;
using json::Range;
using json::Reader;

constexpr Range kCount{1, 1e9};
constexpr Range kCountOrZero{0, 1e9};

// Reads keys under one naming scheme, noting those that the file leaves to the family's default.
class ConfigReader {
 public:
  ConfigReader(Reader& r, ModelSpec& m) : r_(r), m_(m) {}

  int64_t get(std::string_view key, int64_t fallback, Range range = kCount) {
    // Hugging Face writes null where a feature is absent (q_lora_rank of DeepSeek-V2-Lite).
    const Node* raw = r_.raw(key);
    if (raw != nullptr && raw->kind == Node::Kind::kNull) return 0;
    if (raw == nullptr) {
      m_.defaulted.push_back(fmt::format("{}={}", key, fallback));
      return fallback;
    }
    return r_.integer(key, range);
  }
  bool get_bool(std::string_view key, bool fallback) {
    if (!r_.has(key)) m_.defaulted.push_back(fmt::format("{}={}", key, fallback));
    return r_.boolean_or(key, fallback);
  }

 private:
  Reader& r_;
  ModelSpec& m_;
};

void read_deepseek_v3(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.attention = AttentionKind::kMla;
  m.hidden = c.get("hidden_size", 7168);
  m.layers = c.get("num_hidden_layers", 61);
  m.vocab = c.get("vocab_size", 129280);
  m.heads = c.get("num_attention_heads", 128);
  m.q_lora_rank = c.get("q_lora_rank", 1536);
  m.kv_lora_rank = c.get("kv_lora_rank", 512);
  m.qk_nope_dim = c.get("qk_nope_head_dim", 128);
  m.qk_rope_dim = c.get("qk_rope_head_dim", 64);
  m.v_dim = c.get("v_head_dim", 128);
  m.ffn = c.get("intermediate_size", 18432);
  m.expert_ffn = c.get("moe_intermediate_size", 2048);
  m.dense_layers = c.get("first_k_dense_replace", 3, kCountOrZero);
  m.experts = c.get("n_routed_experts", 256, kCountOrZero);
  m.shared_experts = c.get("n_shared_experts", 1, kCountOrZero);
  m.experts_per_token = c.get("num_experts_per_tok", 8);
  m.expert_groups = c.get("n_group", 8);
  m.top_groups = c.get("topk_group", 4);
  m.mtp_layers = c.get("num_nextn_predict_layers", 1, kCountOrZero);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
  if (r.integer_or("moe_layer_freq", 1) != 1)
    r.fail("moe_layer_freq",
           "found a value other than 1; only models in which every layer after "
           "the dense ones is MoE are supported");
}

// The names of DeepSeek's own inference/configs/config_671B.json; defaults of its ModelArgs do not
// describe V3, so the keys that shape the graph are required.
void read_deepseek_inference(Reader& r, ModelSpec& m) {
  m.attention = AttentionKind::kMla;
  m.hidden = r.integer("dim", kCount);
  m.layers = r.integer("n_layers", kCount);
  m.vocab = r.integer("vocab_size", kCount);
  m.heads = r.integer("n_heads", kCount);
  m.q_lora_rank = r.integer("q_lora_rank", kCountOrZero);
  m.kv_lora_rank = r.integer("kv_lora_rank", kCount);
  m.qk_nope_dim = r.integer("qk_nope_head_dim", kCount);
  m.qk_rope_dim = r.integer("qk_rope_head_dim", kCount);
  m.v_dim = r.integer("v_head_dim", kCount);
  m.ffn = r.integer("inter_dim", kCount);
  m.expert_ffn = r.integer("moe_inter_dim", kCount);
  m.dense_layers = r.integer("n_dense_layers", kCountOrZero);
  m.experts = r.integer("n_routed_experts", kCountOrZero);
  m.shared_experts = r.integer("n_shared_experts", kCountOrZero);
  m.experts_per_token = r.integer("n_activated_experts", kCount);
  m.expert_groups = r.integer("n_expert_groups", kCount);
  m.top_groups = r.integer("n_limited_groups", kCount);
  m.mtp_layers = 0;
  m.defaulted.push_back("num_nextn_predict_layers=0 (the inference config has no MTP module)");
}

void read_mixtral(Reader& r, ModelSpec& m) {
  ConfigReader c(r, m);
  m.attention = AttentionKind::kGqa;
  m.hidden = c.get("hidden_size", 4096);
  m.layers = c.get("num_hidden_layers", 32);
  m.vocab = c.get("vocab_size", 32000);
  m.heads = c.get("num_attention_heads", 32);
  m.kv_heads = c.get("num_key_value_heads", 8);
  m.qk_nope_dim = m.v_dim = c.get("head_dim", m.heads > 0 ? m.hidden / m.heads : 128);
  m.expert_ffn = m.ffn = c.get("intermediate_size", 14336);
  m.experts = c.get("num_local_experts", 8, kCountOrZero);
  m.experts_per_token = c.get("num_experts_per_tok", 2);
  m.tied_embeddings = c.get_bool("tie_word_embeddings", false);
}

void check_attention(Reader& r, const ModelSpec& m) {
  if (m.attention == AttentionKind::kGqa && m.kv_heads > 0 && m.heads % m.kv_heads != 0)
    r.fail("", fmt::format("num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                           m.heads, m.kv_heads));
  if (m.dense_layers > m.layers)
    r.fail("", fmt::format("{} leading dense layers, but the model has {} layers", m.dense_layers,
                           m.layers));
}

void check_experts(Reader& r, const ModelSpec& m) {
  if (m.experts == 0) return;
  if (m.expert_groups <= 0 || m.experts % m.expert_groups != 0) {
    r.fail("", fmt::format("{} routed experts do not divide into {} expert groups", m.experts,
                           m.expert_groups));
    return;
  }
  if (m.top_groups > m.expert_groups)
    r.fail("", fmt::format("the router keeps {} groups of only {}", m.top_groups, m.expert_groups));
  else if (m.experts_per_token > m.top_groups * (m.experts / m.expert_groups))
    r.fail("", fmt::format("{} experts per token, but {} groups of {} experts hold only {}",
                           m.experts_per_token, m.top_groups, m.experts / m.expert_groups,
                           m.top_groups * (m.experts / m.expert_groups)));
}

}  // namespace

ModelSpec read_hf_config(const Node& node, const std::string& pointer, const std::string& name,
                         Diagnostics& diagnostics) {
  static constexpr std::array<std::string_view, 2> kFamilies = {"deepseek_v3", "mixtral"};
  Reader r(node, pointer, diagnostics);
  ModelSpec m;
  m.name = name;
  if (!r.has("model_type") && r.has("dim") && r.has("n_layers")) {
    m.family = "deepseek_v3";
    read_deepseek_inference(r, m);
  } else {
    const std::size_t family = r.choice("model_type", kFamilies);
    m.family = std::string(kFamilies[family]);
    family == 0 ? read_deepseek_v3(r, m) : read_mixtral(r, m);
  }
  check_attention(r, m);
  check_experts(r, m);
  // A config.json carries dozens of keys for generation and inference; unknown ones are not errors.
  return m;
}

}  // namespace orrery
