#include "sim/spec/model.h"

#include <cmath>

namespace orrery {
namespace {

int64_t attention_weights(const ModelSpec& m) {
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

int64_t layer_norms(const ModelSpec& m) {
  return 2 * m.hidden +
         (m.attention == AttentionKind::kMla ? m.q_lora_rank + m.kv_lora_rank : int64_t{0});
}

int64_t router_weights(const ModelSpec& m) {
  return m.experts * (m.hidden + (m.router.bias ? 1 : 0));
}

int64_t moe_weights(const ModelSpec& m) {
  return (m.experts + m.shared_experts) * 3 * m.hidden * m.expert_ffn + router_weights(m);
}

}  // namespace

double softmax_scale(const ModelSpec& m) {
  const double scale = 1 / std::sqrt(static_cast<double>(m.qk_dim()));
  if (m.rope.kind != RopeKind::kYarn || m.rope.factor <= 1) return scale;
  const double mscale = 0.1 * m.rope.mscale_all_dim * std::log(m.rope.factor) + 1;
  return scale * mscale * mscale;
}

ParameterCount count_parameters(const ModelSpec& m) {
  const int64_t moe = m.experts > 0 ? m.layers - m.dense_layers : 0;
  const int64_t dense = m.layers - moe;
  ParameterCount p;
  p.embedding = m.vocab * m.hidden;
  p.head = m.tied_embeddings ? 0 : m.vocab * m.hidden;
  p.attention = m.layers * attention_weights(m);
  p.dense_ffn = dense * 3 * m.hidden * m.ffn;
  p.routed_experts = moe * m.experts * 3 * m.hidden * m.expert_ffn;
  p.shared_experts = moe * m.shared_experts * 3 * m.hidden * m.expert_ffn;
  p.router = moe * router_weights(m);
  p.norms = m.layers * layer_norms(m) + m.hidden;
  // Per module: two norms, the 2h -> h projection, one transformer layer, its final norm.
  p.mtp = m.mtp_layers * (3 * m.hidden + 2 * m.hidden * m.hidden + attention_weights(m) +
                          layer_norms(m) + moe_weights(m));
  return p;
}

ModelFlops model_flops_per_token(const ModelSpec& m, int64_t sequence_length) {
  const auto d = [](int64_t x) { return static_cast<double>(x); };
  const int64_t moe = m.experts > 0 ? m.layers - m.dense_layers : 0;
  const double ffn =
      d(m.layers - moe) * 3 * d(m.hidden) * d(m.ffn) +
      d(moe) * (d(m.experts_per_token + m.shared_experts) * 3 * d(m.hidden) * d(m.expert_ffn) +
                d(m.experts) * d(m.hidden));
  const double linear =
      2 * (d(m.layers) * d(attention_weights(m)) + ffn + d(m.vocab) * d(m.hidden));
  const double core = 2 * d(m.layers) * d(sequence_length) * d(m.heads) * d(m.qk_dim() + m.v_dim);
  return {3 * (linear + core / 2), 3 * (linear + core)};
}

}  // namespace orrery
