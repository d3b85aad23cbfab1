// Feed-forward block of a dense layer, and the shared expert of a MoE layer.
#include "sim/graph/ffn.h"

namespace orrery {

ActivationOps activation_ops(const ModelSpec& m) {
  if (is_gated(m.activation))
    return {OpKind::kSwiGlu, OpKind::kSwiGluCast, OpKind::kSwiGluCastTranspose,
            OpKind::kSwiGluBackward, "swiglu"};
  return {OpKind::kActivation, OpKind::kActivationCast, OpKind::kActivationCastTranspose,
          OpKind::kActivationBackward, m.activation == Activation::kSquaredRelu ? "relu2" : "gelu"};
}

void ffn_params(StageBuilder& b, FfnTape& t, const std::string& name, int64_t width) {
  const ModelSpec& m = b.model();
  const bool gated = is_gated(m.activation);
  t.gate_up = b.column_linear(name + (gated ? " gate_up" : " up"), m.hidden,
                              m.gate_factor() * width, m.ffn_bias, gated ? width : 0);
  t.down = b.row_linear(name + " down", width, m.hidden, m.ffn_bias);
}

TensorId activation_forward(StageBuilder& b, FfnTape& t, TensorId gate_up) {
  const int64_t width = t.down.in;
  const int64_t rows = b.tokens();
  const ActivationOps ops = activation_ops(b.model());
  const std::string name = t.down.name + " " + ops.name;
  const TensorId act = b.fp8()
                           ? b.map(ops.cast, name + "+cast", {gate_up}, Dtype::kFp8Row, rows, width)
                           : b.map(ops.map, name, {gate_up}, Dtype::kBf16, rows, width);
  const TensorId out = b.linear_forward_operand(t.down, b.operand(t.down.name, act));
  t.gate_up_kept = gate_up;
  if (b.config().plan.recompute.swiglu)
    t.gate_up_kept = b.payload(t.gate_up.name + " keep", gate_up);
  else if (!b.fp8())
    t.activation_kept = act;
  return out;
}

TensorId activation_backward(StageBuilder& b, TensorId dy, FfnTape& t) {
  const int64_t width = t.down.in, wide = t.gate_up.out;
  const int64_t rows = b.tokens();
  const ActivationOps ops = activation_ops(b.model());
  TensorId gate_up = t.gate_up_kept;
  if (b.fp8() && b.config().plan.recompute.swiglu)
    gate_up = b.map(OpKind::kCastBack, t.gate_up.name + " cast back", {gate_up}, Dtype::kBf16, rows,
                    wide);
  const StageBuilder::RowGrad of_down = b.row_dgrad(t.down, dy);
  const TensorId dyt = b.transposed_operand(t.down.name + " grad^T", of_down.dy, t.down.out);
  TensorId act = t.activation_kept;
  if (b.fp8())
    act =
        b.map(ops.cast_transpose, t.down.name + " input^T", {gate_up}, Dtype::kFp8Row, width, rows);
  else if (!act.valid())
    act = b.map(ops.map, t.down.name + " " + ops.name + " again", {gate_up}, Dtype::kBf16, rows,
                width);
  if (!b.fp8()) act = b.transposed_operand(t.down.name + " input^T", act, width);
  t.wgrads.push_back({t.down, {act, dyt}});
  return b.map(ops.backward, t.gate_up.name + " " + ops.name + " bwd", {gate_up, of_down.dx},
               Dtype::kBf16, rows, wide);
}

Addends ffn_dense_forward(StageBuilder& b, TensorId& x, const Addends& add, FfnTape& t, int unit,
                          int layer) {
  b.begin(SegmentKind::kMlpF, unit, layer);
  ffn_params(b, t, "mlp", b.model().ffn);
  TensorId normed = t.normed;
  if (!t.shares_norm) {
    t.norm = b.model_norm("ffn_norm", b.model().hidden);
    normed = b.norm_add(t.norm, x, add);
    t.input = x;
  }
  t.normed = b.config().plan.recompute.norms ? TensorId{} : normed;
  return {activation_forward(b, t, b.linear_forward(t.gate_up, normed))};
}

TensorId ffn_dense_backward(StageBuilder& b, TensorId residual, TensorId mask, FfnTape& t, int unit,
                            int layer) {
  b.begin(SegmentKind::kMlpB, unit, layer);
  const TensorId dy = b.dropout_backward("ffn dropout bwd", residual, mask);
  const TensorId dgate_up = activation_backward(b, dy, t);
  if (!t.normed.valid()) t.normed = b.norm(t.norm, t.input, " again");
  const TensorId input = b.gather_rows("mlp input again", t.normed);
  const TensorId dnormed = b.reduce_partial("mlp input grad", b.linear_dgrad(t.gate_up, dgate_up));
  t.wgrads.push_back({t.gate_up, b.prepare_wgrad(t.gate_up, input, dgate_up)});
  if (t.shares_norm) return dnormed;
  // The weight gradients, which come next, run while the ranks' sums travel.
  if (b.tensor_parallel() > 1) b.begin(SegmentKind::kAttnB, unit, layer);
  return b.norm_backward(t.norm, dnormed, t.input, residual);
}

}  // namespace orrery
