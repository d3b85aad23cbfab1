#include "sim/graph/blocks.h"

namespace orrery {

Addends attention_forward(StageBuilder& b, TensorId& x, const Addends& add, int layer,
                          AttentionTape& t) {
  t.norm = b.model_norm("attn_norm", b.model().hidden);
  t.window = b.model().window(layer);
  t.forward_normed = b.norm_add(t.norm, x, add);
  t.input = x;
  if (!b.config().plan.recompute.norms) t.normed = t.forward_normed;
  return {b.model().attention == AttentionKind::kMla ? mla_forward(b, t.forward_normed, t)
                                                     : gqa_forward(b, t.forward_normed, t)};
}

TensorId attention_input(StageBuilder& b, const AttentionTape& t) {
  return t.normed.valid() ? t.normed : b.norm(t.norm, t.input, " again");
}

TensorId attention_backward(StageBuilder& b, TensorId dy, AttentionTape& t) {
  return b.model().attention == AttentionKind::kMla ? mla_backward(b, dy, t)
                                                    : gqa_backward(b, dy, t);
}

TensorId attention_norm_backward(StageBuilder& b, TensorId dnormed, TensorId residual,
                                 TensorId normed_grad, const AttentionTape& t) {
  if (!dnormed.valid()) dnormed = b.reduce_partial("attn input grad", t.partial_input_grad);
  if (normed_grad.valid()) dnormed = b.add("add ffn grad", dnormed, {normed_grad});
  return b.norm_backward(t.norm, dnormed, t.input, residual);
}

void linear_wgrads(StageBuilder& b, const std::vector<PendingWgrad>& wgrads) {
  for (const PendingWgrad& w : wgrads) b.linear_wgrad(w.linear, w.operands);
}

}  // namespace orrery
