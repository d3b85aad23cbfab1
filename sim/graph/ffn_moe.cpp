// Mixture-of-experts feed-forward block with a shared expert, expert-parallel over NVLink and the
// network (DeepSeek-V3, arXiv 2412.19437, sections 2.1.2 and 3.2). Tokens and gradients travel in
// the precision of the matrix products and come back in BF16. The experts are in moe_experts.cpp.
#include "sim/graph/moe.h"

namespace orrery {
namespace {

// Bytes of one token's row on the wire: FP8 with its scales, or BF16.
int64_t row_bytes(const StageBuilder& b, Dtype dtype) {
  return tensor_bytes(dtype, 1, b.model().hidden).count();
}

bool travels(const StageBuilder& b) { return b.config().plan.expert_parallel > 1; }

// The entry barrier and the payload of an all-to-all. The first barrier of a layer also tells each
// rank how many rows it will get. Logical bytes: also of rows that stay on the rank or its node;
// the network model subtracts them.
void all_to_all(StageBuilder& b, OpKind kind, const std::string& name, Dtype dtype,
                const std::vector<TensorId>& in, const std::vector<TensorId>& out) {
  b.stream(StreamKind::kAllToAll);
  b.op(OpKind::kNotify, name + " notify", {}, in, {});
  b.op(kind, name, {.m = b.rows().sent, .n = row_bytes(b, dtype)}, in, out);
}

void moe_params(StageBuilder& b, FfnTape& t) {
  const ModelSpec& m = b.model();
  t.norm = b.model_norm("ffn_norm", m.hidden);
  t.router_weight = b.param("router.weight", Dtype::kBf16, m.experts, m.hidden);
  if (m.router.linear_bias) t.router_linear_bias = b.bias_param("router.linear_bias", m.experts);
  t.router_bias = b.buffer("router.bias", m.experts, m.router.bias);
  b.buffer("router.load", m.experts, false);
  const int64_t ways = b.config().plan.expert_tensor_parallel, width = expert_width(b);
  const int64_t wide = m.gate_factor() * width;
  const bool gated = is_gated(m.activation);
  const std::string first = gated ? "experts gate_up" : "experts up";
  t.expert_gate_up = b.expert_param(first + ".weight", m.hidden, wide,
                                    {ShardAxis::kCols, ways, gated ? width : 0});
  t.expert_down = b.expert_param("experts down.weight", width, m.hidden, {ShardAxis::kRows, ways});
  if (m.ffn_bias) {
    t.expert_gate_up_bias = b.expert_bias_param(first + ".bias", wide);
    t.expert_down_bias = b.expert_bias_param("experts down.bias", m.hidden);
  }
}

// In the attention segment: norm, router and the operand that dispatch and shared expert read.
TensorId route(StageBuilder& b, TensorId& x, const Addends& add, FfnTape& t) {
  const ModelSpec& m = b.model();
  const int64_t tokens = b.stream_rows();
  moe_params(b, t);
  const TensorId normed = b.norm_add(t.norm, x, add);
  t.input = x;
  t.forward_normed = normed;
  if (!b.config().plan.recompute.norms) t.normed = normed;
  t.logits = b.tensor("router logits", Dtype::kFp32, tokens, m.experts);
  b.gemm("router fwd", GemmLayout::kNT, {.m = tokens, .n = m.experts, .k = m.hidden}, {normed},
         {t.logits}, t.router_weight);
  b.last_op().bias = t.router_linear_bias;
  t.routing = b.map(OpKind::kRouter, "router top-k", {t.logits}, Dtype::kInt32, tokens,
                    kRoutingWords * m.experts_per_token, t.router_bias);
  return b.payload("ffn", normed);
}

void dispatch(StageBuilder& b, TensorId operand, FfnTape& t) {
  const ModelSpec& m = b.model();
  t.arrived = operand;
  t.arrived_routing = t.routing;
  if (!travels(b)) return;
  const int64_t ranks = b.config().plan.expert_parallel;
  b.stream(StreamKind::kAllToAll);
  t.dispatch_layout = b.map(OpKind::kDispatchLayout, "dispatch layout", {t.routing}, Dtype::kInt32,
                            1, dispatch_layout_words(b.stream_rows(), m, ranks));
  b.graph().tensors[t.dispatch_layout.v].packed = PackedIndex::kDispatchLayout;
  t.arrived =
      b.dynamic_tensor("arrived tokens", b.payload_dtype(), DynamicRows::kArrived, m.hidden);
  t.arrived_routing = b.dynamic_tensor("arrived routing", Dtype::kInt32, DynamicRows::kArrived,
                                       kArrivedRoutingWords * m.experts_per_token);
  all_to_all(b, OpKind::kDispatch, "dispatch tokens", b.payload_dtype(),
             {operand, t.routing, t.dispatch_layout}, {t.arrived, t.arrived_routing});
}

// From the gradient of the block's output to that of the rows that the local experts computed.
TensorId dispatch_grads(StageBuilder& b, TensorId dy, const FfnTape& t) {
  b.stream(StreamKind::kAllToAll);
  const TensorId operand = b.payload("combine grad", dy);
  if (!travels(b)) return operand;
  const TensorId arrived =
      b.dynamic_tensor("arrived grads", b.payload_dtype(), DynamicRows::kArrived, b.model().hidden);
  all_to_all(b, OpKind::kDispatch, "dispatch grads", b.payload_dtype(),
             {operand, t.dispatch_layout}, {arrived});
  return arrived;
}

// The gradients of the tokens and of their routing weights back to the tokens' ranks.
void combine_grads(StageBuilder& b, const FfnTape& t, TensorId& dx, TensorId& dweights) {
  if (!travels(b)) return;
  const ModelSpec& m = b.model();
  const TensorId x = b.tensor("combined grads", Dtype::kBf16, b.stream_rows(), m.hidden);
  const TensorId w =
      b.tensor("routing weight grads", Dtype::kFp32, b.stream_rows(), m.experts_per_token);
  all_to_all(b, OpKind::kCombine, "combine grads", Dtype::kBf16,
             {dx, dweights, t.routing, t.dispatch_layout}, {x, w});
  dx = x;
  dweights = w;
}

// Gradient of the normed input through the router; its operands' weight gradient at once.
TensorId router_backward(StageBuilder& b, const FfnTape& t, TensorId normed, TensorId dweights) {
  const ModelSpec& m = b.model();
  const int64_t tokens = b.stream_rows();
  const TensorId dlogits = b.map(OpKind::kRouterBackward, "router bwd",
                                 {t.logits, t.routing, dweights}, Dtype::kBf16, tokens, m.experts);
  if (t.router_linear_bias.valid())
    b.op(OpKind::kBiasBackward, "router bias grad", {.m = tokens, .n = m.experts}, {dlogits}, {},
         t.router_linear_bias);
  const TensorId drouter = b.tensor("router dgrad out", Dtype::kBf16, tokens, m.hidden);
  b.gemm("router dgrad", GemmLayout::kNN, {.m = tokens, .n = m.hidden, .k = m.experts}, {dlogits},
         {drouter}, t.router_weight);
  b.gemm("router wgrad", GemmLayout::kTN, {.m = m.experts, .n = m.hidden, .k = tokens},
         {normed, dlogits}, {}, t.router_weight);
  return drouter;
}

// The shared expert's output times the sigmoid of one logit a token.
TensorId gate_forward(StageBuilder& b, TensorId normed, TensorId shared, FfnTape& t) {
  const ModelSpec& m = b.model();
  const int64_t tokens = b.stream_rows();
  t.shared_gate = b.param("shared gate.weight", Dtype::kBf16, 1, m.hidden);
  t.gate_logit = b.tensor("shared gate logit", Dtype::kBf16, tokens, 1);
  b.gemm("shared gate fwd", GemmLayout::kNT, {.m = tokens, .n = 1, .k = m.hidden}, {normed},
         {t.gate_logit}, t.shared_gate);
  t.shared_out = shared;
  return b.map(OpKind::kGate, "shared gate", {shared, t.gate_logit}, Dtype::kBf16, tokens,
               m.hidden);
}

// Gradient of the shared expert's output; adds that of the normed input to `grads`.
TensorId gate_backward(StageBuilder& b, TensorId dy, TensorId normed, const FfnTape& t,
                       Addends& grads) {
  const ModelSpec& m = b.model();
  const int64_t tokens = b.stream_rows();
  const TensorId dshared = b.tensor("shared out grad", Dtype::kBf16, tokens, m.hidden);
  const TensorId dlogit = b.tensor("shared gate grad", Dtype::kBf16, tokens, 1);
  b.op(OpKind::kGateBackward, "shared gate bwd", {.m = tokens, .n = m.hidden},
       {dy, t.shared_out, t.gate_logit}, {dshared, dlogit});
  const TensorId dx = b.tensor("shared gate dgrad out", Dtype::kBf16, tokens, m.hidden);
  b.gemm("shared gate dgrad", GemmLayout::kNN, {.m = tokens, .n = m.hidden, .k = 1}, {dlogit}, {dx},
         t.shared_gate);
  b.gemm("shared gate wgrad", GemmLayout::kTN, {.m = 1, .n = m.hidden, .k = tokens},
         {normed, dlogit}, {}, t.shared_gate);
  grads.push_back(dx);
  return dshared;
}

}  // namespace

int64_t dispatch_layout_words(int64_t tokens, const ModelSpec& m, int64_t ranks) {
  return ranks + 1 + m.experts + tokens * std::min(m.experts_per_token, ranks) +
         tokens * m.experts_per_token;
}

Addends ffn_moe_forward(StageBuilder& b, TensorId& x, const Addends& add, FfnTape& t, int unit,
                        int layer) {
  const ModelSpec& m = b.model();
  const TensorId operand = route(b, x, add, t);

  b.begin(SegmentKind::kDispatchF, unit, layer);
  dispatch(b, operand, t);

  b.begin(SegmentKind::kMlpF, unit, layer);
  TensorId gate_up;
  if (m.shared_experts > 0) {
    ffn_params(b, t, "shared", m.shared_width());
    gate_up = b.column_forward({t.gate_up}, b.operand("shared", operand))[0];
  }
  const TensorId out = experts_forward(b, t);
  TensorId shared;
  if (m.shared_experts > 0) shared = activation_forward(b, t, gate_up);
  if (m.shared_gate) shared = gate_forward(b, t.forward_normed, shared, t);
  experts_keep(b, t);

  b.begin(SegmentKind::kCombineF, unit, layer);
  Addends parts = {out};
  if (shared.valid()) parts.push_back(shared);
  if (!travels(b)) return parts;
  // The combine kernel adds the shared expert's output to what it sums.
  const TensorId combined = b.tensor("combined tokens", Dtype::kBf16, b.stream_rows(), m.hidden);
  parts.push_back(t.dispatch_layout);
  all_to_all(b, OpKind::kCombine, "combine tokens", Dtype::kBf16, parts, {combined});
  return {combined};
}

TensorId ffn_moe_backward(StageBuilder& b, TensorId residual, TensorId mask, FfnTape& t, int unit,
                          int layer) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kCombineB, unit, layer);
  const TensorId dy = b.dropout_backward("ffn dropout bwd", residual, mask);
  const TensorId arrived = dispatch_grads(b, dy, t);

  b.begin(SegmentKind::kMlpB, unit, layer);
  TensorId normed = t.normed, dshared = dy;
  Addends gate_grads;
  if (m.shared_gate) {
    if (!normed.valid()) normed = b.norm(t.norm, t.input, " again");
    dshared = gate_backward(b, dy, normed, t, gate_grads);
  }
  if (m.shared_experts > 0) dshared = activation_backward(b, dshared, t)[0];
  TensorId dweights;
  TensorId dnormed = experts_backward(b, arrived, t, dweights);
  if (!normed.valid()) normed = b.norm(t.norm, t.input, " again");
  TensorId dnormed_shared;
  if (m.shared_experts > 0) {
    dnormed_shared = b.reduce_partial("shared input grad", b.linear_dgrad(t.gate_up, dshared));
    const TensorId input = b.gather_rows("shared input again", normed);
    t.wgrads.push_back({t.gate_up, b.prepare_wgrad(t.gate_up, input, dshared)});
  }

  b.begin(SegmentKind::kDispatchB, unit, layer);
  combine_grads(b, t, dnormed, dweights);

  b.begin(SegmentKind::kAttnB, unit, layer);
  Addends grads = {router_backward(b, t, normed, dweights)};
  if (dnormed_shared.valid()) grads.push_back(dnormed_shared);
  grads.insert(grads.end(), gate_grads.begin(), gate_grads.end());
  const TensorId sum = b.add("add ffn grads", dnormed, grads);
  return b.norm_backward(t.norm, sum, t.input, residual);
}

}  // namespace orrery
