// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): queries and keys/values
// go through low-rank latents; a 64-wide rotary part of the key is shared by all heads.
#include "sim/graph/blocks.h"

namespace orrery {
namespace {

// From the normed latents to the q, k, v that the core reads: what "recompute the MLA
// up-projections" does again in the backward.
void up_project(StageBuilder& b, AttentionTape& t, TensorId q_normed, TensorId kv_normed,
                const char* role) {
  const ModelSpec& m = b.model();
  const int64_t rows = b.tokens();
  const TensorId q = b.linear_forward(t.q_up, q_normed, role);
  const TensorId kv = b.linear_forward(t.kv_up, kv_normed, role);
  t.k = b.map(OpKind::kConcatHeads, "concat k", {kv, t.k_rope}, Dtype::kBf16, rows,
              b.heads() * m.qk_dim());
  b.last_op().shape.groups = b.heads();
  b.last_op().shape.first = m.qk_nope_dim;
  t.v = b.map(OpKind::kCopy, "copy v", {kv}, Dtype::kBf16, rows, b.heads() * m.v_dim);
  b.last_op().shape.groups = b.heads();
  b.last_op().shape.column = m.qk_nope_dim;
  b.op(OpKind::kRope, "rope q",
       {.m = rows, .n = m.qk_rope_dim, .groups = b.heads(), .column = m.qk_nope_dim}, {q}, {});
  t.q = q;
}

CoreShape core_shape(const StageBuilder& b) {
  return {b.heads(), b.heads(), b.model().qk_dim(), b.model().v_dim};
}

TensorId latent_norms(StageBuilder& b, const AttentionTape& t, TensorId& kv_normed) {
  const TensorId q_normed = t.q_latent.valid() ? b.norm(t.q_norm, t.q_latent) : TensorId{};
  kv_normed = b.norm(t.kv_norm, t.kv_latent);
  return q_normed;
}

}  // namespace

TensorId mla_forward(StageBuilder& b, TensorId normed, AttentionTape& t) {
  const ModelSpec& m = b.model();
  const int64_t rows = b.tokens(), latents = b.stream_rows();
  const bool q_latent = m.q_lora_rank > 0;  // else queries are projected directly
  if (q_latent) t.q_down = b.linear("q_down", m.hidden, m.q_lora_rank);
  t.kv_down = b.linear("kv_down", m.hidden, m.kv_lora_rank + m.qk_rope_dim);
  t.q_up = b.column_linear(q_latent ? "q_up" : "q_proj", q_latent ? m.q_lora_rank : m.hidden,
                           m.heads * m.qk_dim());
  t.kv_up = b.column_linear("kv_up", m.kv_lora_rank, m.heads * (m.qk_nope_dim + m.v_dim));
  t.out = b.row_linear("o_proj", m.heads * m.v_dim, m.hidden, m.attention_out_bias);
  if (q_latent) t.q_norm = b.rms_norm("q_norm", m.q_lora_rank);
  t.kv_norm = b.rms_norm("kv_norm", m.kv_lora_rank);

  const TensorId operand = b.operand(q_latent ? "q_down" : "kv_down", normed);
  if (q_latent) t.q_latent = b.linear_forward_operand(t.q_down, operand);
  const TensorId kv = b.config().stack.cast_per_linear
                          ? b.linear_forward(t.kv_down, normed)
                          : b.linear_forward_operand(t.kv_down, operand);
  t.kv_latent = b.map(OpKind::kCopy, "copy kv latent", {kv}, Dtype::kBf16, latents, m.kv_lora_rank);
  t.k_rope = b.map(OpKind::kCopy, "copy k rope", {kv}, Dtype::kBf16, latents, m.qk_rope_dim);
  b.last_op().shape.column = m.kv_lora_rank;
  t.k_rope = b.gather_rows("k rope", t.k_rope);
  b.op(OpKind::kRope, "rope k", {.m = rows, .n = m.qk_rope_dim}, {t.k_rope}, {});
  TensorId kv_normed;
  const TensorId q_normed = latent_norms(b, t, kv_normed);
  if (!b.config().plan.recompute.norms) t.q_normed = q_normed, t.kv_normed = kv_normed;
  up_project(b, t, q_latent ? q_normed : normed, kv_normed, "fwd");

  const TensorId core = core_forward(b, core_shape(b), {t.q, {t.k, t.v}}, t.core);
  t.core_stash = core;
  if (b.fp8() && !b.config().plan.recompute.attention)
    t.core_stash = b.map(OpKind::kCastE5M6, "attention out to 12 bit", {core}, Dtype::kE5M6, rows,
                         b.heads() * m.v_dim);
  const TensorId y = b.linear_forward(t.out, core);
  if (!b.config().stack.scale_attention_out) return y;
  return b.map(OpKind::kScale, "scale attention out", {y}, Dtype::kBf16, b.stream_rows(), m.hidden);
}

TensorId mla_backward(StageBuilder& b, TensorId dy, AttentionTape& t) {
  const ModelSpec& m = b.model();
  const int64_t rows = b.tokens(), latents = b.stream_rows();
  const Recompute& again = b.config().plan.recompute;
  const bool q_latent = m.q_lora_rank > 0;
  TensorId q_normed = t.q_normed, kv_normed = t.kv_normed, normed;
  const auto latents_again = [&] {
    if (again.norms) q_normed = latent_norms(b, t, kv_normed);
    if (!q_latent) q_normed = normed = attention_input(b, t);
    if (again.mla_up) up_project(b, t, q_normed, kv_normed, "recompute");
  };
  TensorId core = t.core_stash;
  if (again.attention) {
    latents_again();
    core = core_again(b, core_shape(b), {t.q, {t.k, t.v}}, t.core);
  } else if (b.fp8()) {
    core = b.map(OpKind::kCastBackE5M6, "attention out from 12 bit", {t.core_stash}, Dtype::kBf16,
                 rows, b.heads() * m.v_dim);
  }
  const StageBuilder::RowGrad of_out = b.row_dgrad(t.out, dy);
  t.wgrads.push_back({t.out, b.prepare_wgrad(t.out, core, of_out.dy)});
  if (!again.attention) {
    latents_again();
    if (again.mla_up) core_operands_again(b, core_shape(b), {t.q, {t.k, t.v}}, t.core);
  }

  const CoreOperands grads = core_backward(b, core_shape(b), core, of_out.dx, t.core);
  const TensorId dq = grads.q, dk = grads.kv[0], dv = grads.kv[1];
  b.op(OpKind::kRopeBackward, "rope q bwd",
       {.m = rows, .n = m.qk_rope_dim, .groups = b.heads(), .column = m.qk_nope_dim}, {dq}, {});
  const TensorId dq_normed = b.reduce_partial("q_up input grad", b.linear_dgrad(t.q_up, dq));

  TensorId dk_rope =
      b.map(OpKind::kReduceHeads, "sum k rope grad", {dk}, Dtype::kBf16, rows, m.qk_rope_dim);
  b.last_op().shape.groups = b.heads();
  b.last_op().shape.column = m.qk_nope_dim;
  // Of dk the reduction reads only the rotary columns.
  b.last_op().work.hbm = Bytes(2 * rows * m.qk_rope_dim * (b.heads() + 1));
  b.op(OpKind::kRopeBackward, "rope k bwd", {.m = rows, .n = m.qk_rope_dim}, {dk_rope}, {});
  dk_rope = b.reduce_partial("k rope grad", dk_rope);
  const TensorId dkv = b.map(OpKind::kConcatHeads, "join dk and dv", {dk, dv}, Dtype::kBf16, rows,
                             b.heads() * (m.qk_nope_dim + m.v_dim));
  b.last_op().shape.groups = b.heads();
  b.last_op().shape.first = m.qk_nope_dim;
  const TensorId dkv_normed = b.reduce_partial("kv_up input grad", b.linear_dgrad(t.kv_up, dkv));
  t.wgrads.push_back(
      {t.kv_up, b.prepare_wgrad(t.kv_up, b.gather_rows("kv_up input again", kv_normed), dkv)});
  t.wgrads.push_back(
      {t.q_up, b.prepare_wgrad(t.q_up, b.gather_rows("q_up input again", q_normed), dq)});

  const TensorId dkv_latent = b.norm_backward(t.kv_norm, dkv_normed, t.kv_latent);
  const TensorId dq_latent =
      q_latent ? b.norm_backward(t.q_norm, dq_normed, t.q_latent) : TensorId{};
  const TensorId dkv_down = b.map(OpKind::kConcatHeads, "join kv grads", {dkv_latent, dk_rope},
                                  Dtype::kBf16, latents, m.kv_lora_rank + m.qk_rope_dim);
  b.last_op().shape.first = m.kv_lora_rank;
  if (q_latent) normed = attention_input(b, t);
  const TensorId dx_kv = b.linear_dgrad(t.kv_down, dkv_down);
  t.wgrads.push_back({t.kv_down, b.prepare_wgrad(t.kv_down, normed, dkv_down)});
  TensorId dx_q = dq_normed;
  if (q_latent) {
    dx_q = b.linear_dgrad(t.q_down, dq_latent);
    t.wgrads.push_back({t.q_down, b.prepare_wgrad(t.q_down, normed, dq_latent)});
  }
  return b.map(OpKind::kAdd, "add q and kv grads", {dx_q, dx_kv}, Dtype::kBf16, latents, m.hidden);
}

}  // namespace orrery
