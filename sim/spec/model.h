// The architecture of a transformer as the graph builder needs it. Read from a Hugging Face
// config.json (sim/import/hf_config.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orrery {

// Multi-head latent attention (DeepSeek-V2/V3) or grouped-query attention (heads == kv_heads: MHA).
enum class AttentionKind : uint8_t { kMla, kGqa };

// How the frequencies of rotary position embeddings (arXiv 2104.09864) are stretched to contexts
// longer than those trained first: by transformers' formulas for "default", "linear", "yarn"
// (arXiv 2309.00071) and "llama3".
enum class RopeKind : uint8_t { kNone, kLinear, kYarn, kLlama3 };

struct RopeSpec {
  double theta = 10000;  // inverse frequency i of n/2: theta^(-2i/n)
  RopeKind kind = RopeKind::kNone;
  double factor = 1;                     // all kinds but kNone: long context over the original
  double beta_fast = 32, beta_slow = 1;  // kYarn: turns over the original context
  // kYarn, weights of ln(factor); mscale_all_dim also scales attention scores (softmax_scale).
  // 0: not given.
  double mscale = 0, mscale_all_dim = 0;
  double low_freq_factor = 1, high_freq_factor = 4;  // kLlama3
  // kYarn, multiplies cos and sin. 0: derived from factor and the two mscales.
  double attention_factor = 0;
  int64_t original_max_position = 0;  // kYarn, kLlama3
  bool interleaved = false;           // rotates elements (2i, 2i+1); otherwise (i, i + n/2)
};

// What turns router logits into affinities.
enum class RouterScore : uint8_t { kSigmoid, kSoftmax };

struct RouterSpec {
  RouterScore score = RouterScore::kSoftmax;
  // Divides the weights of a token's experts by their sum; then all are multiplied by the factor.
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1;
  // A bias per expert, added to the affinities only to choose experts and moved after each step
  // against its load (arXiv 2408.15664). With it a group of experts is ranked by the sum of its two
  // best, without it by its best one (DeepSeek-V2).
  bool bias = false;
};

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
  RouterSpec router;

  RopeSpec rope;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;  // standard deviation of the initial weights
  int64_t max_position_embeddings = 0;

  // Keys that shape the cost and that the file leaves to the family's defaults, as "key=value".
  std::vector<std::string> defaulted;

  int64_t qk_dim() const {
    return qk_nope_dim + (attention == AttentionKind::kMla ? qk_rope_dim : 0);
  }
  // Dimensions of a head that are rotated.
  int64_t rope_dim() const { return attention == AttentionKind::kMla ? qk_rope_dim : qk_nope_dim; }
  bool is_moe_layer(int64_t layer) const { return experts > 0 && layer >= dense_layers; }
};

// Factor of the attention scores before the softmax: 1/sqrt(qk_dim), times the square of YaRN's
// 0.1 * mscale_all_dim * ln(factor) + 1 where the model gives mscale_all_dim.
double softmax_scale(const ModelSpec& m);

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
