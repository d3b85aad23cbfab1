#include "sim/import/hf_config.h"

#include <fmt/format.h>

#include <array>

#include "sim/import/hf_family.h"
#include "sim/spec/model_json.h"

namespace orrery {
namespace {

using json::Reader;

struct Family {
  std::string_view model_type;
  void (*read)(Reader&, ModelSpec&);
};
constexpr std::array<Family, 21> kFamilies = {{{"deepseek_v2", hf::read_deepseek_v2},
                                               {"deepseek_v3", hf::read_deepseek_v3},
                                               {"ernie4_5_moe", hf::read_ernie4_5_moe},
                                               {"falcon", hf::read_falcon},
                                               {"glm4_moe", hf::read_glm4_moe},
                                               {"gpt2", hf::read_gpt2},
                                               {"gpt_neox", hf::read_gpt_neox},
                                               {"gpt_oss", hf::read_gpt_oss},
                                               {"kimi_k2", hf::read_deepseek_v3},
                                               {"llama", hf::read_llama},
                                               {"mistral", hf::read_mistral},
                                               {"mixtral", hf::read_mixtral},
                                               {"mpt", hf::read_mpt},
                                               {"nemotron", hf::read_nemotron},
                                               {"orrery", read_model_json},
                                               {"phi3", hf::read_phi3},
                                               {"qwen2", hf::read_qwen2},
                                               {"qwen2_moe", hf::read_qwen2_moe},
                                               {"qwen3", hf::read_qwen3},
                                               {"qwen3_moe", hf::read_qwen3_moe},
                                               {"starcoder2", hf::read_starcoder2}}};

void check_attention(Reader& r, const ModelSpec& m) {
  if (m.attention == AttentionKind::kGqa && m.kv_heads > 0 && m.heads % m.kv_heads != 0)
    r.fail("", fmt::format("num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                           m.heads, m.kv_heads));
  if (m.rope_dim() % 2 != 0)
    r.fail(m.attention == AttentionKind::kMla ? "qk_rope_head_dim" : "head_dim",
           fmt::format("found {} dimensions to rotate, expected an even number", m.rope_dim()));
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

const Family& family_of(Reader& r) {
  std::array<std::string_view, kFamilies.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kFamilies[i].model_type;
  return kFamilies[r.choice("model_type", names)];
}

}  // namespace

ModelSpec read_hf_config(const json::Node& node, const std::string& pointer,
                         const std::string& name, Diagnostics& diagnostics) {
  Reader r(node, pointer, diagnostics);
  ModelSpec m;
  m.name = name;
  if (!r.has("model_type") && r.has("dim") && r.has("n_layers")) {
    m.family = "deepseek_v3";
    hf::read_deepseek_inference(r, m);
  } else {
    const Family& family = family_of(r);
    m.family = std::string(family.model_type);
    family.read(r, m);
  }
  check_attention(r, m);
  check_experts(r, m);
  for (const std::string& problem : check_model(m)) r.fail("", problem);
  // A config.json carries dozens of keys for generation and inference; unknown ones are not errors.
  return m;
}

}  // namespace orrery
