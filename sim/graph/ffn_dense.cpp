// SwiGLU feed-forward block of a dense layer, and the shared expert of a MoE layer.
#include "sim/graph/ffn.h"

namespace orrery {

void ffn_params(StageBuilder& b, FfnTape& t, const std::string& name, int64_t width) {
  t.gate_up = b.linear(name + " gate_up", b.model().hidden, 2 * width);
  t.down = b.linear(name + " down", width, b.model().hidden);
}

TensorId swiglu_forward(StageBuilder& b, FfnTape& t, TensorId gate_up) {
  const int64_t width = t.down.in;
  const int64_t rows = b.tokens();
  const TensorId act = b.fp8() ? b.map(OpKind::kSwiGluCast, t.down.name + " swiglu+cast", {gate_up},
                                       Dtype::kFp8Row, rows, width)
                               : b.map(OpKind::kSwiGlu, t.down.name + " swiglu", {gate_up},
                                       Dtype::kBf16, rows, width);
  const TensorId out = b.linear_forward_operand(t.down, act);
  t.gate_up_kept = gate_up;
  if (b.config().plan.recompute.swiglu)
    t.gate_up_kept = b.operand(t.gate_up.name + " keep", gate_up);
  else if (!b.fp8())
    t.activation_kept = act;
  return out;
}

TensorId swiglu_backward(StageBuilder& b, TensorId dy, FfnTape& t) {
  const int64_t width = t.down.in;
  const int64_t rows = b.tokens();
  TensorId gate_up = t.gate_up_kept;
  if (b.fp8() && b.config().plan.recompute.swiglu)
    gate_up = b.map(OpKind::kCastBack, t.gate_up.name + " cast back", {gate_up}, Dtype::kBf16, rows,
                    2 * width);
  const TensorId dact = b.linear_dgrad(t.down, dy);
  const TensorId dyt = b.transposed_operand(t.down.name + " grad^T", dy, t.down.out);
  TensorId act = t.activation_kept;
  if (b.fp8())
    act = b.map(OpKind::kSwiGluCastTranspose, t.down.name + " input^T", {gate_up}, Dtype::kFp8Row,
                width, rows);
  else if (!act.valid())
    act =
        b.map(OpKind::kSwiGlu, t.down.name + " swiglu again", {gate_up}, Dtype::kBf16, rows, width);
  t.wgrads.push_back({t.down, {act, dyt}});
  return b.map(OpKind::kSwiGluBackward, t.gate_up.name + " swiglu bwd", {gate_up, dact},
               Dtype::kBf16, rows, 2 * width);
}

Addends ffn_dense_forward(StageBuilder& b, TensorId& x, const Addends& add, FfnTape& t, int unit,
                          int layer) {
  b.begin(SegmentKind::kMlpF, unit, layer);
  ffn_params(b, t, "mlp", b.model().ffn);
  t.norm = b.norm_param("ffn_norm.weight", b.model().hidden);
  const TensorId normed = b.rms_norm_add("ffn_norm", x, add, t.norm);
  t.input = x;
  if (!b.config().plan.recompute.norms) t.normed = normed;
  return {swiglu_forward(b, t, b.linear_forward(t.gate_up, normed))};
}

TensorId ffn_dense_backward(StageBuilder& b, TensorId dy, FfnTape& t, int unit, int layer) {
  b.begin(SegmentKind::kMlpB, unit, layer);
  const TensorId dgate_up = swiglu_backward(b, dy, t);
  TensorId normed = t.normed;
  if (b.config().plan.recompute.norms) normed = b.rms_norm("ffn_norm again", t.input, t.norm);
  const TensorId dnormed = b.linear_dgrad(t.gate_up, dgate_up);
  t.wgrads.push_back({t.gate_up, b.prepare_wgrad(t.gate_up, normed, dgate_up)});
  return b.rms_norm_backward("ffn_norm", dnormed, t.input, t.norm, dy);
}

}  // namespace orrery
