// Grouped-query attention (Ainslie et al., arXiv 2305.13245); multi-head when kv_heads == heads.
#include "sim/graph/blocks.h"

namespace orrery {
namespace {

OpShape core_shape(const StageBuilder& b) {
  const ModelSpec& m = b.model();
  return {.m = b.config().plan.micro_batch,
          .n = b.config().plan.sequence_length,
          .k = m.heads,
          .groups = m.kv_heads,
          .d_qk = m.qk_dim(),
          .d_v = m.v_dim};
}

}  // namespace

TensorId gqa_forward(StageBuilder& b, TensorId normed, AttentionTape& t) {
  const ModelSpec& m = b.model();
  const int64_t rows = b.tokens();
  const int64_t head = m.qk_dim();
  t.q_up = b.linear("q_proj", m.hidden, m.heads * head);
  t.kv_up = b.linear("kv_proj", m.hidden, m.kv_heads * (head + m.v_dim));
  t.out = b.linear("o_proj", m.heads * m.v_dim, m.hidden);

  const TensorId operand = b.operand("q_proj", normed);
  t.q = b.linear_forward_operand(t.q_up, operand);
  // All keys, then all values.
  t.k = b.config().stack.cast_per_linear ? b.linear_forward(t.kv_up, normed)
                                         : b.linear_forward_operand(t.kv_up, operand);
  b.op(OpKind::kRope, "rope q", {.m = rows, .n = head, .groups = m.heads}, {t.q}, {});
  b.op(OpKind::kRope, "rope k", {.m = rows, .n = head, .groups = m.kv_heads}, {t.k}, {});
  const TensorId core = b.tensor("attention out", Dtype::kBf16, rows, m.heads * m.v_dim);
  t.lse = b.tensor("log-sum-exp", Dtype::kFp32, rows, m.heads);
  b.op(OpKind::kAttention, "attention core fwd", core_shape(b), {t.q, t.k}, {core, t.lse});
  t.core_stash = core;
  return b.linear_forward(t.out, core);
}

TensorId gqa_backward(StageBuilder& b, TensorId dy, AttentionTape& t) {
  const ModelSpec& m = b.model();
  const int64_t rows = b.tokens();
  const int64_t head = m.qk_dim();
  const TensorId dcore = b.linear_dgrad(t.out, dy);
  t.wgrads.push_back({t.out, b.prepare_wgrad(t.out, t.core_stash, dy)});
  const TensorId dq = b.tensor("dq", Dtype::kBf16, rows, m.heads * head);
  const TensorId dkv = b.tensor("dkv", Dtype::kBf16, rows, m.kv_heads * (head + m.v_dim));
  b.op(OpKind::kAttentionBackward, "attention core bwd", core_shape(b),
       {t.q, t.k, t.core_stash, dcore, t.lse}, {dq, dkv});
  b.op(OpKind::kRopeBackward, "rope q bwd", {.m = rows, .n = head, .groups = m.heads}, {dq}, {});
  b.op(OpKind::kRopeBackward, "rope k bwd", {.m = rows, .n = head, .groups = m.kv_heads}, {dkv},
       {});
  TensorId normed = t.normed;
  if (b.config().plan.recompute.norms) normed = b.rms_norm("attn_norm again", t.input, t.norm);
  const TensorId dx_q = b.linear_dgrad(t.q_up, dq);
  t.wgrads.push_back({t.q_up, b.prepare_wgrad(t.q_up, normed, dq)});
  const TensorId dx_kv = b.linear_dgrad(t.kv_up, dkv);
  t.wgrads.push_back({t.kv_up, b.prepare_wgrad(t.kv_up, normed, dkv)});
  return b.map(OpKind::kAdd, "add q and kv grads", {dx_q, dx_kv}, Dtype::kBf16, rows, m.hidden);
}

}  // namespace orrery
