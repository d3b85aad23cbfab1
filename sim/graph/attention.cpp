#include "sim/graph/blocks.h"

namespace orrery {

Addends attention_forward(StageBuilder& b, TensorId& x, const Addends& add, AttentionTape& t) {
  t.norm = b.norm_param("attn_norm.weight", b.model().hidden);
  const TensorId normed = b.rms_norm_add("attn_norm", x, add, t.norm);
  t.input = x;
  if (!b.config().plan.recompute.norms) t.normed = normed;
  return {b.model().attention == AttentionKind::kMla ? mla_forward(b, normed, t)
                                                     : gqa_forward(b, normed, t)};
}

TensorId attention_backward(StageBuilder& b, TensorId dy, AttentionTape& t) {
  const TensorId dnormed =
      b.model().attention == AttentionKind::kMla ? mla_backward(b, dy, t) : gqa_backward(b, dy, t);
  return b.rms_norm_backward("attn_norm", dnormed, t.input, t.norm, dy);
}

void linear_wgrads(StageBuilder& b, const std::vector<PendingWgrad>& wgrads) {
  for (const PendingWgrad& w : wgrads) b.linear_wgrad(w.linear, w.operands);
}

}  // namespace orrery
