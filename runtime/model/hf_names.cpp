#include "runtime/model/hf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "runtime/model/param_shard.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr std::string_view kLayers = "model.layers.";
constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
constexpr std::string_view kHead = "lm_head.weight";

// Our parameter of a layer and the tensors that are its rows, from the top.
struct LayerName {
  std::string_view param;
  std::string_view first, second = {};
};
constexpr std::array kLayerNames = {
    LayerName{"attn_norm.weight", "input_layernorm.weight"},
    LayerName{"ffn_norm.weight", "post_attention_layernorm.weight"},
    LayerName{"o_proj.weight", "self_attn.o_proj.weight"},
    // MLA
    LayerName{"q_down.weight", "self_attn.q_a_proj.weight"},
    LayerName{"q_norm.weight", "self_attn.q_a_layernorm.weight"},
    LayerName{"q_up.weight", "self_attn.q_b_proj.weight"},
    LayerName{"kv_down.weight", "self_attn.kv_a_proj_with_mqa.weight"},
    LayerName{"kv_norm.weight", "self_attn.kv_a_layernorm.weight"},
    LayerName{"kv_up.weight", "self_attn.kv_b_proj.weight"},
    // GQA
    LayerName{"q_proj.weight", "self_attn.q_proj.weight"},
    LayerName{"kv_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"},
    LayerName{"k_proj.weight", "self_attn.k_proj.weight"},
    LayerName{"v_proj.weight", "self_attn.v_proj.weight"},
    // Feed-forward
    LayerName{"mlp gate.weight", "mlp.gate_proj.weight"},
    LayerName{"mlp up.weight", "mlp.up_proj.weight"},
    LayerName{"mlp gate_up.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight"},
    LayerName{"mlp down.weight", "mlp.down_proj.weight"},
    LayerName{"shared gate_up.weight", "mlp.shared_experts.gate_proj.weight",
              "mlp.shared_experts.up_proj.weight"},
    LayerName{"shared down.weight", "mlp.shared_experts.down_proj.weight"},
    LayerName{"router.weight", "mlp.gate.weight"},
    LayerName{"router.bias", "mlp.gate.e_score_correction_bias"},
    // MTP
    LayerName{"mtp embedding_norm.weight", "enorm.weight"},
    LayerName{"mtp hidden_norm.weight", "hnorm.weight"},
    LayerName{"mtp projection.weight", "eh_proj.weight"},
    LayerName{"final_norm.weight", "shared_head.norm.weight"},
};

[[noreturn]] void no_name(const ModelSpec& m, const Param& p, const char* why) {
  throw InputError({{"", fmt::format("weight {} of model {}: there is no Hugging Face name, {}",
                                     in_quotes(p.name), in_quotes(m.name), why)}});
}

// Norms and biases are stored as vectors.
std::vector<int64_t> stored_shape(const Param& p, int64_t rows) {
  const bool vector = p.init == ParamInit::kOnes || !p.trained;
  return vector ? std::vector{p.cols} : std::vector{rows, p.cols};
}

std::string layer_name(const Param& p, std::string_view name) {
  return fmt::format("{}{}.{}", kLayers, p.layer, name);
}

// gate and up, or down: [rows, cols] of the published tensor is our [cols, rows].
std::vector<HfMatrix> expert_matrices(const ModelSpec& m, const Param& p, int64_t expert,
                                      HfExperts experts) {
  const bool gate_up = p.name == "experts gate_up.weight";
  if (!gate_up && p.name != "experts down.weight") no_name(m, p, "it is not known");
  const int64_t rows = p.rows / p.groups;
  if (experts == HfExperts::kFused) {
    const char* name = gate_up ? "mlp.experts.gate_up_proj" : "mlp.experts.down_proj";
    return {{layer_name(p, name), {m.experts, p.cols, rows}, expert, true}};
  }
  const bool mixtral = m.family == "mixtral";
  const auto name = [&](const char* common, const char* of_mixtral) {
    const char* block = mixtral ? "block_sparse_moe" : "mlp";
    return layer_name(
        p, fmt::format("{}.experts.{}.{}.weight", block, expert, mixtral ? of_mixtral : common));
  };
  if (!gate_up) return {{name("down_proj", "w2"), {p.cols, rows}, 0, true}};
  const int64_t width = p.cols / 2;
  return {{name("gate_proj", "w1"), {width, rows}, 0, true, 0, 0},
          {name("up_proj", "w3"), {width, rows}, 0, true, 0, width}};
}

std::vector<HfMatrix> layer_matrices(const ModelSpec& m, const Param& p, HfExperts experts) {
  const auto* known = std::find_if(kLayerNames.begin(), kLayerNames.end(),
                                   [&](const LayerName& n) { return n.param == p.name; });
  if (known == kLayerNames.end()) no_name(m, p, "it is not known");
  std::string_view first = known->first;
  if (p.name == "router.weight" && m.family == "mixtral" && experts == HfExperts::kSeparate)
    first = "block_sparse_moe.gate.weight";
  if (known->second.empty()) return {{layer_name(p, first), stored_shape(p, p.rows)}};
  const int64_t top = p.name == "kv_proj.weight" ? m.kv_heads * m.qk_dim() : p.rows / 2;
  return {{layer_name(p, first), {top, p.cols}},
          {layer_name(p, known->second), {p.rows - top, p.cols}, 0, false, top, 0}};
}

}  // namespace

std::vector<HfMatrix> hf_matrices(const ModelSpec& m, const Param& p, int64_t expert,
                                  HfExperts experts) {
  if (m.family != "deepseek_v3" && m.family != "llama" && m.family != "mixtral")
    no_name(m, p, "its family is neither deepseek_v3, llama nor mixtral");
  if (!p.saved) return {};
  if (p.count() == 0) no_name(m, p, "since it has no elements");
  if (p.expert) return expert_matrices(m, p, expert, experts);
  if (p.layer >= 0) return layer_matrices(m, p, experts);
  if (p.name == kEmbeddingParam) return {{std::string(kEmbedding), stored_shape(p, p.rows)}};
  if (p.name == "head.weight") return {{std::string(kHead), stored_shape(p, p.rows)}};
  if (p.name == "final_norm.weight") return {{"model.norm.weight", stored_shape(p, p.rows)}};
  no_name(m, p, "it is not known");
}

std::vector<HfMatrix> hf_model_tensors(const ModelSpec& m, const ExecPlan& plan,
                                       HfExperts experts) {
  std::vector<HfMatrix> all;
  std::set<std::string> seen;
  for (const StageGraph& stage : plan.stages)
    for (const Param& p : stage.params)
      for (int64_t e = 0; e < (p.expert ? m.experts : 1); ++e)
        for (HfMatrix& matrix : hf_matrices(m, whole_param(p), e, experts))
          if (seen.insert(matrix.name).second) all.push_back(std::move(matrix));
  return all;
}

int64_t hf_layer(std::string_view name) {
  if (!name.starts_with(kLayers)) return -1;
  const char* end = name.data() + name.size();
  int64_t layer = -1;
  const auto [after, error] = std::from_chars(name.data() + kLayers.size(), end, layer);
  return error == std::errc() && after != end && *after == '.' ? layer : -1;
}

std::string_view hf_shared_tensor(const ModelSpec& m, std::string_view name) {
  const int64_t layer = hf_layer(name);
  if (layer < m.layers || layer >= m.layers + m.mtp_layers) return "";
  const std::string module = fmt::format("{}{}.", kLayers, layer);
  if (name == module + "embed_tokens.weight") return kEmbedding;
  if (name == module + "shared_head.head.weight") return m.tied_embeddings ? kEmbedding : kHead;
  return "";
}

}  // namespace orrery
