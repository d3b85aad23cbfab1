// Grouped-query attention (Ainslie et al., arXiv 2305.13245); multi-head when kv_heads == heads.
// Keys and values are one product, all keys before all values, unless the keys are normed.
#include "sim/graph/blocks.h"

namespace orrery {
namespace {

OpShape core_shape(const StageBuilder& b, const AttentionTape& t) {
  const ModelSpec& m = b.model();
  return {.m = b.config().plan.micro_batch,
          .n = b.config().plan.sequence_length,
          .k = m.heads,
          .groups = m.kv_heads,
          .d_qk = m.qk_dim(),
          .d_v = m.v_dim,
          .window = t.window};
}

void params(StageBuilder& b, AttentionTape& t) {
  const ModelSpec& m = b.model();
  const int64_t head = m.qk_dim();
  t.q_up = b.linear("q_proj", m.hidden, m.heads * head, m.qkv_bias);
  if (m.qk_norm) {
    t.kv_up = b.linear("k_proj", m.hidden, m.kv_heads * head, m.qkv_bias);
    t.v_up = b.linear("v_proj", m.hidden, m.kv_heads * m.v_dim, m.qkv_bias);
    t.q_norm = b.rms_norm("q_head_norm", head, m.heads);
    t.kv_norm = b.rms_norm("k_head_norm", head, m.kv_heads);
  } else {
    t.kv_up = b.linear("kv_proj", m.hidden, m.kv_heads * (head + m.v_dim), m.qkv_bias);
  }
  t.out = b.linear("o_proj", m.heads * m.v_dim, m.hidden, m.attention_out_bias);
  if (m.attention_sinks) t.sinks = b.bias_param("sinks", m.heads);
}

void rotate(StageBuilder& b, OpKind kind, const char* name, TensorId x, int64_t heads) {
  const ModelSpec& m = b.model();
  if (m.rope_dim() == 0) return;
  b.op(kind, name, {.m = b.tokens(), .n = m.rope_dim(), .k = m.qk_dim(), .groups = heads}, {x}, {});
}

std::vector<TensorId> core_inputs(const AttentionTape& t) {
  if (t.v.valid()) return {t.q, t.k, t.v};
  return {t.q, t.k};
}

// Through a linear layer of the normed input, to whose gradient it adds.
void input_gradient(StageBuilder& b, AttentionTape& t, const StageBuilder::Linear& l,
                    TensorId normed, TensorId dy, Addends& dx) {
  dx.push_back(b.linear_dgrad(l, dy));
  t.wgrads.push_back({l, b.prepare_wgrad(l, normed, dy)});
}

}  // namespace

TensorId gqa_forward(StageBuilder& b, TensorId normed, AttentionTape& t) {
  const ModelSpec& m = b.model();
  const int64_t rows = b.tokens();
  params(b, t);
  const TensorId operand = b.operand("q_proj", normed);
  const auto project = [&](const StageBuilder::Linear& l) {
    return b.config().stack.cast_per_linear ? b.linear_forward(l, normed)
                                            : b.linear_forward_operand(l, operand);
  };
  t.q = b.linear_forward_operand(t.q_up, operand);
  t.k = project(t.kv_up);
  if (m.qk_norm) {
    t.v = project(t.v_up);
    t.q_latent = t.q, t.kv_latent = t.k;
    t.q = b.norm(t.q_norm, t.q_latent);
    t.k = b.norm(t.kv_norm, t.kv_latent);
  }
  rotate(b, OpKind::kRope, "rope q", t.q, m.heads);
  rotate(b, OpKind::kRope, "rope k", t.k, m.kv_heads);
  const TensorId core = b.tensor("attention out", Dtype::kBf16, rows, m.heads * m.v_dim);
  t.lse = b.tensor("log-sum-exp", Dtype::kFp32, rows, m.heads);
  std::vector<TensorId> results = {core, t.lse};
  if (b.config().stack.unfused_attention()) {
    t.probabilities = b.tensor("attention probabilities", Dtype::kBf16, rows * m.heads,
                               b.config().plan.sequence_length);
    results.push_back(t.probabilities);
  }
  b.op(OpKind::kAttention, "attention core fwd", core_shape(b, t), core_inputs(t), results,
       t.sinks);
  t.core_stash = core;
  return b.linear_forward(t.out, core);
}

TensorId gqa_backward(StageBuilder& b, TensorId dy, AttentionTape& t) {
  const ModelSpec& m = b.model();
  const int64_t rows = b.tokens();
  const int64_t head = m.qk_dim();
  const TensorId dcore = b.linear_dgrad(t.out, dy);
  t.wgrads.push_back({t.out, b.prepare_wgrad(t.out, t.core_stash, dy)});
  TensorId dq = b.tensor("dq", Dtype::kBf16, rows, m.heads * head);
  TensorId dk = b.tensor(m.qk_norm ? "dk" : "dkv", Dtype::kBf16, rows,
                         m.kv_heads * (m.qk_norm ? head : head + m.v_dim));
  std::vector<TensorId> in = core_inputs(t), out = {dq, dk};
  in.insert(in.end(), {t.core_stash, dcore, t.lse});
  if (t.probabilities.valid()) in.push_back(t.probabilities);
  if (m.qk_norm) out.push_back(b.tensor("dv", Dtype::kBf16, rows, m.kv_heads * m.v_dim));
  b.op(OpKind::kAttentionBackward, "attention core bwd", core_shape(b, t), in, out, t.sinks);
  rotate(b, OpKind::kRopeBackward, "rope q bwd", dq, m.heads);
  rotate(b, OpKind::kRopeBackward, "rope k bwd", dk, m.kv_heads);
  if (m.qk_norm) {
    dq = b.norm_backward(t.q_norm, dq, t.q_latent);
    dk = b.norm_backward(t.kv_norm, dk, t.kv_latent);
  }
  const TensorId normed = attention_input(b, t);
  Addends dx;
  input_gradient(b, t, t.q_up, normed, dq, dx);
  input_gradient(b, t, t.kv_up, normed, dk, dx);
  if (m.qk_norm) input_gradient(b, t, t.v_up, normed, out.back(), dx);
  return b.map(OpKind::kAdd, "add q and kv grads", dx, Dtype::kBf16, rows, m.hidden);
}

}  // namespace orrery
