#include "sim/spec/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/casts.h"

namespace orrery {

const std::string_view kNormNames[2] = {"rms_norm", "layer_norm"};
const std::string_view kActivationNames[5] = {"swiglu", "clipped_swiglu", "gelu", "gelu_tanh",
                                              "squared_relu"};
const std::string_view kPositionNames[4] = {"rope", "learned", "alibi", "none"};
const std::string_view kBlockFormNames[3] = {"sequential", "parallel", "parallel_one_norm"};

namespace {

// Matrices of the attention block: what its products count.
int64_t attention_matrices(const ModelSpec& m) {
  if (m.attention == AttentionKind::kGqa)
    return m.hidden * m.qk_nope_dim * (m.heads + m.kv_heads) + m.hidden * m.v_dim * m.kv_heads +
           m.heads * m.v_dim * m.hidden;
  const int64_t q = m.q_lora_rank > 0
                        ? m.hidden * m.q_lora_rank + m.q_lora_rank * m.heads * m.qk_dim()
                        : m.hidden * m.heads * m.qk_dim();
  const int64_t kv_down = m.hidden * (m.kv_lora_rank + m.qk_rope_dim);
  const int64_t kv_up = m.kv_lora_rank * m.heads * (m.qk_nope_dim + m.v_dim);
  return q + kv_down + kv_up + m.heads * m.v_dim * m.hidden;
}

int64_t attention_weights(const ModelSpec& m) {
  int64_t biases = 0;
  if (m.qkv_bias) biases += m.qk_dim() * (m.heads + m.kv_heads) + m.v_dim * m.kv_heads;
  if (m.attention_out_bias) biases += m.hidden;
  if (m.attention_sinks) biases += m.heads;
  return attention_matrices(m) + biases;
}

int64_t norm_weights(const ModelSpec& m) { return m.hidden * (m.norm_bias ? 2 : 1); }

int64_t layer_norms(const ModelSpec& m) {
  int64_t n = (m.block == BlockForm::kParallelOneNorm ? 1 : 2) * norm_weights(m);
  if (m.attention == AttentionKind::kMla) n += m.q_lora_rank + m.kv_lora_rank;
  return m.qk_norm ? n + 2 * m.qk_dim() : n;
}

int64_t ffn_matrices(const ModelSpec& m, int64_t width) {
  return (m.gate_factor() + 1) * m.hidden * width;
}

int64_t ffn_weights(const ModelSpec& m, int64_t width) {
  const int64_t biases = m.ffn_bias ? m.gate_factor() * width + m.hidden : 0;
  return ffn_matrices(m, width) + biases;
}

int64_t shared_weights(const ModelSpec& m) {
  if (m.shared_experts == 0) return 0;
  return ffn_weights(m, m.shared_width()) + (m.shared_gate ? m.hidden : 0);
}

int64_t router_weights(const ModelSpec& m) {
  return m.experts * (m.hidden + (m.router.bias ? 1 : 0) + (m.router.linear_bias ? 1 : 0));
}

int64_t moe_weights(const ModelSpec& m) {
  return m.experts * ffn_weights(m, m.expert_ffn) + shared_weights(m) + router_weights(m);
}

void check_attention(const ModelSpec& m, std::vector<std::string>& out) {
  const bool mla = m.attention == AttentionKind::kMla;
  if (mla && (m.qk_norm || m.qkv_bias || m.attention_sinks || m.sliding_window > 0))
    out.emplace_back(
        "latent attention has no QK norm, QKV biases, sinks or sliding window in the training "
        "graph");
  if (mla && m.position != PositionKind::kRope)
    out.emplace_back("latent attention needs rotary positions");
  if (m.rotary_dim > m.qk_nope_dim)
    out.push_back(
        fmt::format("{} rotated dimensions of a head of {}", m.rotary_dim, m.qk_nope_dim));
  if (m.sliding_window > 0 && m.sliding_layers.size() != static_cast<std::size_t>(m.layers))
    out.push_back(
        fmt::format("a sliding window needs to know of each of the {} layers whether it "
                    "has it, found {} entries",
                    m.layers, m.sliding_layers.size()));
  if (m.norm_bias && m.norm == NormKind::kRmsNorm)
    out.emplace_back("norm_bias needs layer_norm; RMSNorm has no bias");
}

void check_ffn(const ModelSpec& m, std::vector<std::string>& out) {
  if (m.block != BlockForm::kSequential && m.moe_layers() > 0)
    out.emplace_back("parallel blocks with experts are not in the training graph");
  if (m.shared_gate && m.shared_experts == 0) out.emplace_back("shared_gate needs a shared expert");
  if (m.router.pad_to_capacity && m.router.capacity_factor == 0)
    out.emplace_back("pad_to_capacity needs a capacity_factor");
  if (m.mtp_layers > 0 && m.block != BlockForm::kSequential)
    out.emplace_back("parallel blocks with multi-token prediction are not in the training graph");
}

}  // namespace

bool ModelSpec::is_moe_layer(int64_t layer) const {
  return experts > 0 && layer >= dense_layers && (layer + moe_layer_offset) % moe_layer_freq == 0 &&
         std::find(dense_layer_list.begin(), dense_layer_list.end(), layer) ==
             dense_layer_list.end();
}

int64_t ModelSpec::moe_layers() const {
  int64_t n = 0;
  for (int64_t i = 0; i < layers; ++i) n += is_moe_layer(i) ? 1 : 0;
  return n;
}

int64_t ModelSpec::window(int64_t layer) const {
  const auto i = static_cast<std::size_t>(layer);
  return i < sliding_layers.size() && sliding_layers[i] != 0 ? sliding_window : 0;
}

std::vector<std::string> check_model(const ModelSpec& m) {
  std::vector<std::string> out;
  check_attention(m, out);
  check_ffn(m, out);
  return out;
}

double softmax_scale(const ModelSpec& m) {
  const double scale = 1 / std::sqrt(static_cast<double>(m.qk_dim()));
  if (m.rope.kind != RopeKind::kYarn || m.rope.factor <= 1) return scale;
  const double mscale = 0.1 * m.rope.mscale_all_dim * std::log(m.rope.factor) + 1;
  return scale * mscale * mscale;
}

ParameterCount count_parameters(const ModelSpec& m) {
  const int64_t moe = m.moe_layers();
  const int64_t dense = m.layers - moe;
  ParameterCount p;
  p.embedding = m.vocab * m.hidden;
  p.positions =
      m.position == PositionKind::kLearned ? m.max_position_embeddings * m.hidden : int64_t{0};
  p.head = m.tied_embeddings ? 0 : m.vocab * m.hidden;
  p.attention = m.layers * attention_weights(m);
  p.dense_ffn = dense * ffn_weights(m, m.ffn);
  p.routed_experts = moe * m.experts * ffn_weights(m, m.expert_ffn);
  p.shared_experts = moe * shared_weights(m);
  p.router = moe * router_weights(m);
  p.norms = m.layers * layer_norms(m) + norm_weights(m);
  // Per module: two norms, the 2h -> h projection, one transformer layer, its final norm.
  const int64_t ffn = m.experts > 0 ? moe_weights(m) : ffn_weights(m, m.ffn);
  p.mtp = m.mtp_layers * (3 * norm_weights(m) + 2 * m.hidden * m.hidden + attention_weights(m) +
                          layer_norms(m) + ffn);
  return p;
}

int64_t ParameterCount::active(const ModelSpec& m) const {
  if (m.experts == 0) return total();
  return total() - routed_experts / m.experts * (m.experts - m.experts_per_token);
}

double causal_scores(int64_t length, int64_t window) {
  if (window <= 0 || window >= length) return d(length) * d(length) / 2;
  return d(length) * d(window) - d(window) * d(window) / 2;
}

ModelFlops model_flops_per_token(const ModelSpec& m, int64_t sequence_length) {
  const int64_t moe = m.moe_layers();
  const int64_t shared =
      m.shared_experts > 0 ? ffn_matrices(m, m.shared_width()) + (m.shared_gate ? m.hidden : 0) : 0;
  const double ffn = d(m.layers - moe) * d(ffn_matrices(m, m.ffn)) +
                     d(moe) * (d(m.experts_per_token) * d(ffn_matrices(m, m.expert_ffn)) +
                               d(shared) + d(m.experts) * d(m.hidden));
  const double linear =
      2 * (d(m.layers) * d(attention_matrices(m)) + ffn + d(m.vocab) * d(m.hidden));
  // Scores a token computes with the keys before it, and with all keys of its window.
  double causal = 0, all = 0;
  for (int64_t layer = 0; layer < m.layers; ++layer) {
    const int64_t window = m.window(layer);
    causal += causal_scores(sequence_length, window) / d(sequence_length);
    all += d(window > 0 ? std::min(window, sequence_length) : sequence_length);
  }
  const double per_score = 2 * d(m.heads) * d(m.qk_dim() + m.v_dim);
  return {3 * (linear + causal * per_score), 3 * (linear + all * per_score)};
}

}  // namespace orrery
