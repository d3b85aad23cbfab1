// Feed-forward block of a dense layer, and the shared expert of a MoE layer.
#include "sim/graph/ffn.h"

namespace orrery {
namespace {

// Gate and up, as one tensor or as two.
std::vector<TensorId> activation_inputs(TensorId gate_up, TensorId up) {
  return up.valid() ? std::vector{gate_up, up} : std::vector{gate_up};
}

// The first products of the normed input.
std::vector<TensorId> first_products(StageBuilder& b, const FfnTape& t, TensorId normed) {
  if (!t.up.weight.valid()) return {b.linear_forward(t.gate_up, normed)};
  if (b.config().plan.splits_rows()) return b.column_forward({t.gate_up, t.up}, normed);
  const TensorId operand = b.operand(t.gate_up.name, normed);
  const TensorId gate = b.linear_forward_operand(t.gate_up, operand);
  return {gate, b.linear_forward_operand(t.up, operand)};
}

}  // namespace

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
  if (gated && b.separate_projections()) {
    t.gate_up = b.column_linear(name + " gate", m.hidden, width, m.ffn_bias);
    t.up = b.column_linear(name + " up", m.hidden, width, m.ffn_bias);
  } else {
    t.gate_up = b.column_linear(name + (gated ? " gate_up" : " up"), m.hidden,
                                m.gate_factor() * width, m.ffn_bias, gated ? width : 0);
  }
  t.down = b.row_linear(name + " down", width, m.hidden, m.ffn_bias);
}

TensorId activation_forward(StageBuilder& b, FfnTape& t, TensorId gate_up, TensorId up) {
  const int64_t width = t.down.in;
  const int64_t rows = b.tokens();
  const ActivationOps ops = activation_ops(b.model());
  const std::string name = t.down.name + " " + ops.name;
  const TensorId act =
      b.fp8() ? b.map(ops.cast, name + "+cast", {gate_up}, Dtype::kFp8Row, rows, width)
              : b.map(ops.map, name, activation_inputs(gate_up, up), Dtype::kBf16, rows, width);
  const TensorId out = b.linear_forward_operand(t.down, b.operand(t.down.name, act));
  t.gate_up_kept = gate_up;
  t.up_kept = up;
  if (b.config().plan.recompute.swiglu)
    t.gate_up_kept = b.payload(t.gate_up.name + " keep", gate_up);
  else if (!b.fp8())
    t.activation_kept = act;
  return out;
}

std::vector<TensorId> activation_backward(StageBuilder& b, TensorId dy, FfnTape& t) {
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
    act = b.map(ops.map, t.down.name + " " + ops.name + " again",
                activation_inputs(gate_up, t.up_kept), Dtype::kBf16, rows, width);
  if (!b.fp8()) act = b.transposed_operand(t.down.name + " input^T", act, width);
  t.wgrads.push_back({t.down, {act, dyt}});
  const std::string name = t.gate_up.name + " " + ops.name + " bwd";
  if (!t.up_kept.valid())
    return {b.map(ops.backward, name, {gate_up, of_down.dx}, Dtype::kBf16, rows, wide)};
  const std::vector<TensorId> out = {b.tensor(name, Dtype::kBf16, rows, wide),
                                     b.tensor(t.up.name + " bwd", Dtype::kBf16, rows, wide)};
  b.op(ops.backward, name, {.m = rows, .n = 2 * wide, .first = wide},
       {gate_up, t.up_kept, of_down.dx}, out);
  return out;
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
  const std::vector<TensorId> first = first_products(b, t, normed);
  return {activation_forward(b, t, first[0], first.size() > 1 ? first[1] : TensorId{})};
}

TensorId ffn_dense_backward(StageBuilder& b, TensorId residual, TensorId mask, FfnTape& t, int unit,
                            int layer) {
  b.begin(SegmentKind::kMlpB, unit, layer);
  const TensorId dy = b.dropout_backward("ffn dropout bwd", residual, mask);
  const std::vector<TensorId> dfirst = activation_backward(b, dy, t);
  if (!t.normed.valid()) t.normed = b.norm(t.norm, t.input, " again");
  const TensorId input = b.gather_rows("mlp input again", t.normed);
  TensorId dx = b.linear_dgrad(t.gate_up, dfirst[0]);
  t.wgrads.push_back({t.gate_up, b.prepare_wgrad(t.gate_up, input, dfirst[0])});
  if (dfirst.size() > 1) {
    dx = b.add("add gate and up grads", dx, {b.linear_dgrad(t.up, dfirst[1])});
    t.wgrads.push_back({t.up, b.prepare_wgrad(t.up, input, dfirst[1])});
  }
  // The weight gradients, which come next, run while the ranks' sums travel, or before.
  if (b.config().stack.sums_after_weight_gradients) b.begin(SegmentKind::kAttnB, unit, layer);
  const TensorId dnormed = b.reduce_partial("mlp input grad", dx);
  if (t.shares_norm) return dnormed;
  if (b.tensor_parallel() > 1) b.begin(SegmentKind::kAttnB, unit, layer);
  return b.norm_backward(t.norm, dnormed, t.input, residual);
}

}  // namespace orrery
