// The architecture of a transformer as the graph builder needs it. Read from a Hugging Face
// config.json (sim/import/hf_config.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orrery {

// Multi-head latent attention (DeepSeek-V2/V3) or grouped-query attention (heads == kv_heads: MHA).
enum class AttentionKind : uint8_t { kMla, kGqa };

struct ModelSpec {
  std::string name;
  std::string family;  // the Hugging Face model_type
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t vocab = 0;
  bool tied_embeddings = false;

  AttentionKind attention = AttentionKind::kMla;
  int64_t heads = 0;
  int64_t kv_heads = 0;      // kGqa
  int64_t qk_nope_dim = 0;   // per head; for kGqa the whole head dimension, rotated
  int64_t qk_rope_dim = 0;   // kMla
  int64_t v_dim = 0;         // per head
  int64_t q_lora_rank = 0;   // kMla; 0: queries are projected directly
  int64_t kv_lora_rank = 0;  // kMla

  int64_t ffn = 0;           // intermediate width of a dense layer (not the hidden size)
  int64_t dense_layers = 0;  // the first layers, with a dense FFN; the rest are MoE
  int64_t experts = 0;       // routed experts of a MoE layer; 0: every layer is dense
  int64_t experts_per_token = 0;
  int64_t shared_experts = 0;
  int64_t expert_ffn = 0;  // intermediate width of one expert
  int64_t expert_groups = 1;
  int64_t top_groups = 1;
  int64_t mtp_layers = 0;  // multi-token-prediction modules after the last layer

  // Keys that the file leaves out and the family's defaults fill, as "key=value".
  std::vector<std::string> defaulted;

  int64_t qk_dim() const {
    return qk_nope_dim + (attention == AttentionKind::kMla ? qk_rope_dim : 0);
  }
  bool is_moe_layer(int64_t layer) const { return experts > 0 && layer >= dense_layers; }
};

// Parameters of the model's parts, from the shapes of its weight matrices and norms.
struct ParameterCount {
  int64_t embedding = 0;
  int64_t head = 0;  // 0 when tied
  int64_t attention = 0;
  int64_t dense_ffn = 0;
  int64_t routed_experts = 0;
  int64_t shared_experts = 0;
  int64_t router = 0;  // with the balancing bias
  int64_t norms = 0;
  int64_t mtp = 0;  // MTP modules without the shared embedding and head

  // Without MTP: what "671B" counts.
  int64_t total() const {
    return embedding + head + attention + dense_ffn + routed_experts + shared_experts + router +
           norms;
  }
};
ParameterCount count_parameters(const ModelSpec& m);

// Model FLOPs of one token, forward and backward (3 x forward), counting 2·m·n·k per matrix
// product. Causal counts half of the attention score and value products; non-causal all of them.
// The embedding lookup counts nothing; MTP is not included (as in DeepSeek's 250 GFLOP per token).
struct ModelFlops {
  double causal = 0;
  double non_causal = 0;
};
ModelFlops model_flops_per_token(const ModelSpec& m, int64_t sequence_length);

}  // namespace orrery
