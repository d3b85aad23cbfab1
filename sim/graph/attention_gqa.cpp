// Grouped-query attention (Ainslie et al., arXiv 2305.13245); multi-head when kv_heads == heads.
// Keys and values are one product, all keys before all values, unless the keys are normed.
#include "sim/graph/blocks.h"

namespace orrery {
namespace {

bool separate_values(const StageBuilder& b) {
  return b.model().qk_norm || b.separate_projections();
}

// Query heads of one head of keys and values, when these are copied to all of them; else 1.
int64_t copies_of_kv(const StageBuilder& b) {
  return b.config().stack.repeats_kv && separate_values(b) ? b.heads() / b.kv_heads() : 1;
}

CoreShape core_shape(const StageBuilder& b, const AttentionTape& t) {
  const ModelSpec& m = b.model();
  return {b.heads(), b.kv_heads() * copies_of_kv(b),      m.qk_dim(), m.v_dim, t.window,
          t.sinks,   b.config().stack.unfused_attention()};
}

void params(StageBuilder& b, AttentionTape& t) {
  const ModelSpec& m = b.model();
  const int64_t head = m.qk_dim(), keys = m.kv_heads * head, values = m.kv_heads * m.v_dim;
  t.q_up = b.column_linear("q_proj", m.hidden, m.heads * head, m.qkv_bias);
  if (separate_values(b)) {
    t.kv_up = b.column_linear("k_proj", m.hidden, keys, m.qkv_bias);
    t.v_up = b.column_linear("v_proj", m.hidden, values, m.qkv_bias);
  } else {
    t.kv_up = b.column_linear("kv_proj", m.hidden, keys + values, m.qkv_bias, keys);
  }
  if (m.qk_norm) {
    t.q_norm = b.head_norm("q_head_norm", head, b.heads());
    t.kv_norm = b.head_norm("k_head_norm", head, b.kv_heads());
  }
  t.out = b.row_linear("o_proj", m.heads * m.v_dim, m.hidden, m.attention_out_bias);
  if (m.attention_sinks) t.sinks = b.sharded_bias_param("sinks", b.heads());
}

void rotate(StageBuilder& b, OpKind kind, const char* name, TensorId x, int64_t heads) {
  const ModelSpec& m = b.model();
  if (m.rope_dim() == 0) return;
  b.op(kind, name, {.m = b.tokens(), .n = m.rope_dim(), .k = m.qk_dim(), .groups = heads}, {x}, {});
}

TensorId map_heads(StageBuilder& b, OpKind kind, const char* name, TensorId x) {
  const Tensor t = b.graph().tensors[x.v];
  const int64_t copies = copies_of_kv(b);
  const int64_t cols = kind == OpKind::kRepeatHeads ? t.cols * copies : t.cols / copies;
  const TensorId out = b.map(kind, name, {x}, Dtype::kBf16, t.rows, cols);
  b.last_op().shape.groups = b.kv_heads();
  b.last_op().shape.k = copies;
  return out;
}

CoreOperands core_operands(StageBuilder& b, const AttentionTape& t) {
  if (!t.v.valid()) return {t.q, {t.k}};
  if (copies_of_kv(b) == 1) return {t.q, {t.k, t.v}};
  return {t.q,
          {map_heads(b, OpKind::kRepeatHeads, "repeat k", t.k),
           map_heads(b, OpKind::kRepeatHeads, "repeat v", t.v)}};
}

// Products of the normed input with all layers; what is gathered is gathered once.
std::vector<TensorId> project(StageBuilder& b, const std::vector<StageBuilder::Linear>& layers,
                              TensorId normed) {
  if (b.config().plan.splits_rows()) return b.column_forward(layers, normed);
  const TensorId operand = b.operand("q_proj", normed);
  std::vector<TensorId> out;
  for (const StageBuilder::Linear& l : layers)
    out.push_back(b.config().stack.cast_per_linear && !out.empty()
                      ? b.linear_forward(l, normed)
                      : b.linear_forward_operand(l, operand));
  return out;
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
  params(b, t);
  std::vector<StageBuilder::Linear> layers = {t.q_up, t.kv_up};
  if (separate_values(b)) layers.push_back(t.v_up);
  // Kept rotated, so that it need not be again.
  const bool q_kept = b.next_product_kept(t.q_up);
  const std::vector<TensorId> out = project(b, layers, normed);
  t.q = out[0], t.k = out[1];
  if (separate_values(b)) t.v = out[2];
  if (m.qk_norm) {
    t.q_latent = t.q, t.kv_latent = t.k;
    t.q = b.norm(t.q_norm, t.q_latent);
    t.k = b.norm(t.kv_norm, t.kv_latent);
  }
  if (!q_kept) rotate(b, OpKind::kRope, "rope q", t.q, b.heads());
  rotate(b, OpKind::kRope, "rope k", t.k, b.kv_heads());
  t.core_stash = core_forward(b, core_shape(b, t), core_operands(b, t), t.core);
  return b.linear_forward(t.out, t.core_stash);
}

TensorId gqa_backward(StageBuilder& b, TensorId dy, AttentionTape& t) {
  const ModelSpec& m = b.model();
  if (b.config().plan.recompute.attention)
    t.core_stash = core_again(b, core_shape(b, t), core_operands(b, t), t.core);
  const StageBuilder::RowGrad of_out = b.row_dgrad(t.out, dy);
  t.wgrads.push_back({t.out, b.prepare_wgrad(t.out, t.core_stash, of_out.dy)});
  CoreOperands grads = core_backward(b, core_shape(b, t), t.core_stash, of_out.dx, t.core);
  if (copies_of_kv(b) > 1) {
    grads.kv[0] = map_heads(b, OpKind::kSumHeads, "sum k grads", grads.kv[0]);
    grads.kv[1] = map_heads(b, OpKind::kSumHeads, "sum v grads", grads.kv[1]);
  }
  TensorId dq = grads.q, dk = grads.kv[0];
  rotate(b, OpKind::kRopeBackward, "rope q bwd", dq, b.heads());
  rotate(b, OpKind::kRopeBackward, "rope k bwd", dk, b.kv_heads());
  if (m.qk_norm) {
    dq = b.norm_backward(t.q_norm, dq, t.q_latent);
    dk = b.norm_backward(t.kv_norm, dk, t.kv_latent);
  }
  const TensorId normed = b.gather_rows("attn input again", attention_input(b, t));
  Addends dx;
  input_gradient(b, t, t.q_up, normed, dq, dx);
  input_gradient(b, t, t.kv_up, normed, dk, dx);
  if (separate_values(b)) input_gradient(b, t, t.v_up, normed, grads.kv[1], dx);
  t.partial_input_grad =
      b.map(OpKind::kAdd, "add q and kv grads", dx, Dtype::kBf16, b.tokens(), m.hidden);
  if (b.config().stack.sums_after_weight_gradients) return {};
  return b.reduce_partial("attn input grad", t.partial_input_grad);
}

}  // namespace orrery
