// The architecture of a transformer as the graph builder needs it. Read from a Hugging Face
// config.json (sim/import/hf_config.h) or from Orrery's own form (sim/spec/model_json.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

// Multi-head latent attention (DeepSeek-V2/V3) or grouped-query attention (heads == kv_heads: MHA).
enum class AttentionKind : uint8_t { kMla, kGqa };

// kLayerNorm subtracts the mean and may add a bias (ModelSpec::norm_bias).
enum class NormKind : uint8_t { kRmsNorm, kLayerNorm };
extern const std::string_view kNormNames[2];  // "rms_norm", "layer_norm"

// Between the matrices of a feed-forward block. The first two are gated: the first matrix is twice
// as wide, and the activation of one half multiplies the other.
//   kSwiGlu         silu(gate) * up (arXiv 2002.05202)
//   kClippedSwiGlu  g * sigmoid(1.702 g) * (u + 1), g = min(gate, limit), u = up clipped to +-limit
//                   (gpt-oss)
//   kGelu           x * Phi(x); kGeluTanh: its tanh approximation (arXiv 1606.08415, section 2)
//   kSquaredRelu    max(x, 0)^2 (arXiv 2109.08668)
enum class Activation : uint8_t { kSwiGlu, kClippedSwiGlu, kGelu, kGeluTanh, kSquaredRelu };
extern const std::string_view kActivationNames[5];  // "swiglu", "clipped_swiglu", "gelu", ...
constexpr bool is_gated(Activation a) {
  return a == Activation::kSwiGlu || a == Activation::kClippedSwiGlu;
}

// How tokens know their place: rotated queries and keys, a learned vector per position added to the
// embedding (GPT-2), a distance times a slope per head added to the scores (ALiBi, arXiv
// 2108.12409), or nothing.
enum class PositionKind : uint8_t { kRope, kLearned, kAlibi, kNone };
extern const std::string_view kPositionNames[4];  // "rope", "learned", "alibi", "none"

// Whether a layer's feed-forward block reads the attention block's output (kSequential), or both
// read the same input, each through a norm of its own (kParallel, GPT-NeoX) or through one norm
// (kParallelOneNorm, PaLM).
enum class BlockForm : uint8_t { kSequential, kParallel, kParallelOneNorm };
extern const std::string_view kBlockFormNames[3];  // "sequential", "parallel", "parallel_one_norm"

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
  bool truncate = true;               // kYarn: the ramp's ends are rounded to whole dimensions
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
  bool linear_bias = false;  // a trained bias on the logits (gpt-oss)
  // Weight of the auxiliary balancing loss (arXiv 2101.03961, equation 4); 0: none. Without cost in
  // the graph: its gradient is part of the router's kernels.
  double aux_loss = 0;
  // Rows an expert takes from one rank's micro-batch: capacity_factor * tokens * k / experts,
  // rounded up; tokens beyond that are dropped. 0: dropless. With `pad_to_capacity` every expert
  // computes that many rows (GShard, arXiv 2006.16668; Megatron's
  // --moe-pad-expert-input-to-capacity).
  double capacity_factor = 0;
  bool pad_to_capacity = false;
};

struct ModelSpec {
  std::string name;
  std::string family;  // the Hugging Face model_type, or "orrery"
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t vocab = 0;
  bool tied_embeddings = false;

  NormKind norm = NormKind::kRmsNorm;  // before each block and before the head
  bool norm_bias = false;              // kLayerNorm
  double norm_eps = 1e-6;
  BlockForm block = BlockForm::kSequential;

  AttentionKind attention = AttentionKind::kMla;
  int64_t heads = 0;
  int64_t kv_heads = 0;      // kGqa
  int64_t qk_nope_dim = 0;   // per head; for kGqa the whole head dimension
  int64_t qk_rope_dim = 0;   // kMla
  int64_t v_dim = 0;         // per head
  int64_t q_lora_rank = 0;   // kMla; 0: queries are projected directly
  int64_t kv_lora_rank = 0;  // kMla
  bool qk_norm = false;      // kGqa: RMSNorm of each head's query and key, before RoPE (Qwen3)
  bool qkv_bias = false;     // kGqa
  bool attention_out_bias = false;
  // kGqa: a trained logit per head that takes part in the softmax without a value (gpt-oss).
  bool attention_sinks = false;
  // Keys before and at the query that a sliding-window layer attends to; 0: all.
  int64_t sliding_window = 0;
  std::vector<uint8_t> sliding_layers;  // of each layer: 1 if it has the window; empty: none has

  PositionKind position = PositionKind::kRope;
  RopeSpec rope;
  int64_t rotary_dim = 0;  // kGqa: leading dimensions of a head that are rotated; 0: all
  int64_t max_position_embeddings = 0;  // kLearned: vectors in the table

  Activation activation = Activation::kSwiGlu;
  double activation_limit = 7;  // kClippedSwiGlu
  bool ffn_bias = false;        // of the matrices of dense layers and experts
  int64_t ffn = 0;              // intermediate width of a dense layer (not the hidden size)
  // Layer i is MoE if i >= dense_layers, (i + moe_layer_offset) % moe_layer_freq == 0 and it is not
  // in dense_layer_list.
  int64_t dense_layers = 0;
  int64_t moe_layer_freq = 1, moe_layer_offset = 0;
  std::vector<int64_t> dense_layer_list;
  int64_t experts = 0;  // routed experts of a MoE layer; 0: every layer is dense
  int64_t experts_per_token = 0;
  int64_t expert_ffn = 0;  // intermediate width of one expert
  int64_t shared_experts = 0;
  int64_t shared_ffn = 0;    // width of all shared experts together; 0: shared_experts * expert_ffn
  bool shared_gate = false;  // multiplies their output by sigmoid(w.x) (Qwen2-MoE)
  int64_t expert_groups = 1;
  int64_t top_groups = 1;
  RouterSpec router;
  int64_t mtp_layers = 0;  // multi-token-prediction modules after the last layer

  // In training: of block outputs and of the embedding; of attention probabilities (grouped and
  // multi-head attention only).
  double dropout = 0, attention_dropout = 0;
  double initializer_range = 0.02;  // standard deviation of the initial weights

  // Keys that shape the cost and that the file leaves to the family's defaults, as "key=value".
  std::vector<std::string> defaulted;

  int64_t qk_dim() const {
    return qk_nope_dim + (attention == AttentionKind::kMla ? qk_rope_dim : 0);
  }
  // Dimensions of a head that are rotated.
  int64_t rope_dim() const {
    if (position != PositionKind::kRope) return 0;
    if (attention == AttentionKind::kMla) return qk_rope_dim;
    return rotary_dim > 0 ? rotary_dim : qk_nope_dim;
  }
  bool is_moe_layer(int64_t layer) const;
  int64_t moe_layers() const;
  // Keys of the layer's window; 0: all.
  int64_t window(int64_t layer) const;
  int64_t shared_width() const { return shared_ffn > 0 ? shared_ffn : shared_experts * expert_ffn; }
  // Columns of the first matrix of a feed-forward block for each of its width.
  int64_t gate_factor() const { return is_gated(activation) ? 2 : 1; }
};

// What contradicts itself in a model or is not in the training graph, one sentence each.
std::vector<std::string> check_model(const ModelSpec& m);

// Factor of the attention scores before the softmax: 1/sqrt(qk_dim), times the square of YaRN's
// 0.1 * mscale_all_dim * ln(factor) + 1 where the model gives mscale_all_dim.
double softmax_scale(const ModelSpec& m);

// Parameters of the model's parts, from the shapes of its weight matrices, biases and norms.
struct ParameterCount {
  int64_t embedding = 0;
  int64_t positions = 0;  // kLearned
  int64_t head = 0;       // 0 when tied
  int64_t attention = 0;
  int64_t dense_ffn = 0;
  int64_t routed_experts = 0;
  int64_t shared_experts = 0;
  int64_t router = 0;  // with the balancing bias
  int64_t norms = 0;
  int64_t mtp = 0;  // MTP modules without the shared embedding and head

  // Without MTP: what "671B" counts.
  int64_t total() const {
    return embedding + positions + head + attention + dense_ffn + routed_experts + shared_experts +
           router + norms;
  }
  // Of `total`, what one token computes with: its chosen experts instead of all.
  int64_t active(const ModelSpec& m) const;
};
ParameterCount count_parameters(const ModelSpec& m);

// Model FLOPs of one token, forward and backward (3 x forward), counting 2·m·n·k per matrix
// product. Causal counts half of the attention score and value products; non-causal all of them. A
// window of W keys in a sequence of S makes S·W - W²/2 of S²/2 products, S·W non-causal.
// The embedding lookup counts nothing; MTP is not included (as in DeepSeek's 250 GFLOP per token).
struct ModelFlops {
  double causal = 0;
  double non_causal = 0;
};
ModelFlops model_flops_per_token(const ModelSpec& m, int64_t sequence_length);

// Products of a query and a key that causal attention over `length` tokens computes, with a window
// of `window` keys (0: none).
double causal_scores(int64_t length, int64_t window);

}  // namespace orrery
