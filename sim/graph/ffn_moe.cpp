// Mixture-of-experts feed-forward block with a shared expert, expert-parallel over NVLink and the
// network (DeepSeek-V3, arXiv 2412.19437, sections 2.1.2 and 3.2). Tokens travel in FP8, come back
// in BF16; gradients travel in FP8 the way of the tokens and come back in BF16 too.
#include <algorithm>

#include "sim/graph/ffn.h"

namespace orrery {
namespace {

// Bytes of one token's row on the wire: FP8 with its scales, or BF16.
int64_t row_bytes(const StageBuilder& b, Dtype dtype) {
  return tensor_bytes(dtype, 1, b.model().hidden).count();
}

// The entry barrier and the payload of an all-to-all. Logical bytes: every token to each of its
// nodes, the own node included; the network model subtracts what stays.
void all_to_all(StageBuilder& b, OpKind kind, const std::string& name, Dtype dtype,
                std::vector<TensorId> in, TensorId out) {
  b.stream(StreamKind::kAllToAll);
  b.op(OpKind::kNotify, name + " notify", {}, in, {});
  b.op(kind, name, {.m = b.tokens() * b.rows().nodes_per_token, .n = row_bytes(b, dtype)},
       std::move(in), {out});
}

// Products of the local experts as one grouped GEMM over the expanded rows.
TensorId grouped_gemm(StageBuilder& b, const std::string& name, TensorId x, int64_t in, int64_t out,
                      ParamId weight) {
  const ExpertRows& r = b.rows();
  const TensorId y = b.tensor(name + " out", Dtype::kBf16, r.expanded, out);
  b.op(OpKind::kGemmFp8, name,
       {.m = r.expanded, .n = out, .k = in, .groups = std::max<int64_t>(2, r.local_experts)}, {x},
       {y}, weight);
  return y;
}

// Scale factors copied to the column-major layout that the grouped GEMM reads.
void copy_scales(StageBuilder& b, const std::string& name, TensorId x, int64_t cols) {
  b.op(OpKind::kCopy, name + " scales", {.m = b.rows().expanded, .n = cols / 128}, {x}, {});
  b.graph().ops.back().work.hbm = Bytes(8 * b.rows().expanded * (cols / 128));
}

void transpose_experts(StageBuilder& b, const std::string& name, ParamId weight) {
  const Param p = b.graph().params[weight.v];
  b.op(OpKind::kTransposeFp8, name + " weight transpose", {.m = p.rows, .n = p.cols}, {}, {},
       weight);
}

TensorId experts_forward(StageBuilder& b, FfnTape& t) {
  const ModelSpec& m = b.model();
  const ExpertRows& r = b.rows();
  t.layout = b.tensor("expert layout", Dtype::kInt32, r.expanded, 4);
  b.op(OpKind::kExpertLayout, "expert layout", {.m = b.tokens(), .n = 1}, {t.arrived8, t.routing},
       {t.layout});
  b.row_proportional(true);
  const TensorId x8 = b.map(OpKind::kPermute, "permute tokens", {t.arrived8, t.layout},
                            Dtype::kFp8Row, r.expanded, m.hidden);
  transpose_experts(b, "experts gate_up", t.expert_gate_up);
  copy_scales(b, "experts gate_up", x8, m.hidden);
  const TensorId gate_up =
      grouped_gemm(b, "experts gate_up fwd", x8, m.hidden, 2 * m.expert_ffn, t.expert_gate_up);
  const TensorId act8 = b.map(OpKind::kSwiGluCast, "experts swiglu+cast", {gate_up}, Dtype::kFp8Row,
                              r.expanded, m.expert_ffn);
  transpose_experts(b, "experts down", t.expert_down);
  copy_scales(b, "experts down", act8, m.expert_ffn);
  const TensorId y =
      grouped_gemm(b, "experts down fwd", act8, m.expert_ffn, m.hidden, t.expert_down);
  const TensorId out = b.map(OpKind::kUnpermute, "unpermute tokens", {y, t.layout, t.routing},
                             Dtype::kBf16, r.arrived, m.hidden);
  t.expert_gate_up_kept = gate_up;
  b.row_proportional(false);
  return out;
}

// Input gradients of the local experts; leaves the transposed operands of their weight gradients.
TensorId experts_backward(StageBuilder& b, TensorId dy8_arrived, FfnTape& t) {
  const ModelSpec& m = b.model();
  const ExpertRows& r = b.rows();
  b.row_proportional(true);
  TensorId gate_up = t.expert_gate_up_kept;
  if (b.config().plan.recompute.swiglu)
    gate_up = b.map(OpKind::kCastBack, "experts gate_up cast back", {gate_up}, Dtype::kBf16,
                    r.expanded, 2 * m.expert_ffn);
  t.grad8 = b.map(OpKind::kPermute, "permute grads", {dy8_arrived, t.layout}, Dtype::kFp8Row,
                  r.expanded, m.hidden);
  copy_scales(b, "experts down grad", t.grad8, m.hidden);
  const TensorId dact =
      grouped_gemm(b, "experts down dgrad", t.grad8, m.hidden, m.expert_ffn, t.expert_down);
  const TensorId act = b.tensor("experts activation", Dtype::kBf16, r.expanded, m.expert_ffn);
  const TensorId dgate =
      b.tensor("experts gate_up grad", Dtype::kBf16, r.expanded, 2 * m.expert_ffn);
  b.op(OpKind::kSwiGluBackward, "experts swiglu fwd+bwd", {.m = r.expanded, .n = m.expert_ffn},
       {gate_up, dact, t.routing}, {act, dgate});
  b.op(OpKind::kSwiGluWeightBackward, "experts routing weight grad",
       {.m = r.expanded, .n = m.expert_ffn}, {act, dact}, {});
  t.activation_t = b.map(OpKind::kCastTranspose, "experts down input^T", {act}, Dtype::kFp8Row,
                         m.expert_ffn, r.expanded);
  const TensorId dgate8 = b.cast("experts gate_up grad", dgate);
  copy_scales(b, "experts gate_up grad", dgate8, 2 * m.expert_ffn);
  const TensorId dx = grouped_gemm(b, "experts gate_up dgrad", dgate8, 2 * m.expert_ffn, m.hidden,
                                   t.expert_gate_up);
  const TensorId out = b.map(OpKind::kUnpermute, "unpermute grads", {dx, t.layout}, Dtype::kBf16,
                             r.arrived, m.hidden);
  t.dgate_t = b.map(OpKind::kCastTranspose, "experts gate_up grad^T", {dgate}, Dtype::kFp8Row,
                    2 * m.expert_ffn, r.expanded);
  b.row_proportional(false);
  return out;
}

}  // namespace

Addends ffn_moe_forward(StageBuilder& b, TensorId& x, const Addends& add, FfnTape& t, int unit,
                        int layer) {
  const ModelSpec& m = b.model();
  const ExpertRows& r = b.rows();
  const int64_t tokens = b.tokens();
  // Still in the attention segment: norm, router and the cast that dispatch and shared expert read.
  t.norm = b.param("ffn_norm.weight", Dtype::kBf16, 1, m.hidden);
  const TensorId normed = b.rms_norm_add("ffn_norm", x, add, t.norm);
  t.input = x;
  if (!b.config().plan.recompute.norms) t.normed = normed;
  t.router_weight = b.param("router.weight", Dtype::kBf16, m.experts, m.hidden);
  b.param("router.bias", Dtype::kFp32, 1, m.experts);
  const TensorId logits = b.tensor("router logits", Dtype::kFp32, tokens, m.experts);
  b.op(OpKind::kGemm, "router fwd", {.m = tokens, .n = m.experts, .k = m.hidden}, {normed},
       {logits}, t.router_weight);
  t.routing = b.map(OpKind::kRouter, "router top-k", {logits}, Dtype::kInt32, tokens,
                    4 * m.experts_per_token);
  const TensorId normed8 = b.cast("ffn", normed);

  t.expert_gate_up = b.param("experts gate_up.weight", Dtype::kFp8Block,
                             r.local_experts * 2 * m.expert_ffn, m.hidden, true);
  t.expert_down = b.param("experts down.weight", Dtype::kFp8Block, r.local_experts * m.hidden,
                          m.expert_ffn, true);

  b.begin(SegmentKind::kDispatchF, unit, layer);
  t.arrived8 = normed8;
  if (b.config().plan.expert_parallel > 1) {
    b.stream(StreamKind::kAllToAll);
    b.op(OpKind::kDispatchLayout, "dispatch layout", {.m = tokens, .n = 1}, {t.routing}, {});
    t.arrived8 = b.tensor("arrived tokens", Dtype::kFp8Row, r.arrived, m.hidden);
    all_to_all(b, OpKind::kDispatch, "dispatch tokens", Dtype::kFp8Row, {normed8}, t.arrived8);
  }

  b.begin(SegmentKind::kMlpF, unit, layer);
  TensorId gate_up;
  if (m.shared_experts > 0) {
    ffn_params(b, t, "shared", m.shared_experts * m.expert_ffn);
    gate_up = b.linear_forward_fp8(t.gate_up, normed8);
  }
  const TensorId out = experts_forward(b, t);
  TensorId shared;
  if (m.shared_experts > 0) shared = swiglu_forward(b, t, gate_up);
  if (b.config().plan.recompute.swiglu) {
    b.row_proportional(true);
    t.expert_gate_up_kept = b.cast("experts gate_up keep", t.expert_gate_up_kept);
    b.row_proportional(false);
  }

  b.begin(SegmentKind::kCombineF, unit, layer);
  Addends parts = {out};
  if (shared.valid()) parts.push_back(shared);
  if (b.config().plan.expert_parallel == 1) return parts;
  // The combine kernel adds the shared expert's output to what it sums.
  const TensorId combined = b.tensor("combined tokens", Dtype::kBf16, tokens, m.hidden);
  all_to_all(b, OpKind::kCombine, "combine tokens", Dtype::kBf16, std::move(parts), combined);
  return {combined};
}

TensorId ffn_moe_backward(StageBuilder& b, TensorId dy, FfnTape& t, int unit, int layer) {
  const ModelSpec& m = b.model();
  const ExpertRows& r = b.rows();
  const int64_t tokens = b.tokens();
  b.begin(SegmentKind::kCombineB, unit, layer);
  b.stream(StreamKind::kAllToAll);
  const TensorId dy8 = b.cast("combine grad", dy);
  TensorId arrived = dy8;
  if (b.config().plan.expert_parallel > 1) {
    arrived = b.tensor("arrived grads", Dtype::kFp8Row, r.arrived, m.hidden);
    all_to_all(b, OpKind::kDispatch, "dispatch grads", Dtype::kFp8Row, {dy8}, arrived);
  }

  b.begin(SegmentKind::kMlpB, unit, layer);
  TensorId dshared;
  if (m.shared_experts > 0) dshared = swiglu_backward(b, dy, t);
  const TensorId dexperts = experts_backward(b, arrived, t);
  TensorId normed = t.normed;
  if (b.config().plan.recompute.norms) normed = b.rms_norm("ffn_norm again", t.input, t.norm);
  TensorId dnormed_shared;
  if (m.shared_experts > 0) {
    dnormed_shared = b.linear_dgrad(t.gate_up, dshared);
    t.wgrads.push_back({t.gate_up, b.prepare_wgrad(t.gate_up, normed, dshared)});
  }

  b.begin(SegmentKind::kDispatchB, unit, layer);
  TensorId dnormed = dexperts;
  if (b.config().plan.expert_parallel > 1) {
    dnormed = b.tensor("combined grads", Dtype::kBf16, tokens, m.hidden);
    all_to_all(b, OpKind::kCombine, "combine grads", Dtype::kBf16, {dexperts}, dnormed);
  }

  b.begin(SegmentKind::kAttnB, unit, layer);
  const TensorId dlogits =
      b.map(OpKind::kRouterBackward, "router bwd", {t.routing}, Dtype::kFp32, tokens, m.experts);
  const TensorId drouter = b.tensor("router dgrad out", Dtype::kBf16, tokens, m.hidden);
  b.op(OpKind::kGemm, "router dgrad", {.m = tokens, .n = m.hidden, .k = m.experts}, {dlogits},
       {drouter}, t.router_weight);
  b.op(OpKind::kGemm, "router wgrad", {.m = m.experts, .n = m.hidden, .k = tokens},
       {dlogits, normed}, {}, t.router_weight);
  Addends grads = {drouter};
  if (dnormed_shared.valid()) grads.push_back(dnormed_shared);
  const TensorId sum = b.add("add ffn grads", dnormed, grads);
  return b.rms_norm_backward("ffn_norm", sum, t.input, t.norm, dy);
}

void expert_wgrads(StageBuilder& b, const FfnTape& t) {
  const ModelSpec& m = b.model();
  const ExpertRows& r = b.rows();
  const int64_t rows = r.expanded / r.local_experts;
  b.row_proportional(true);
  const TensorId dy_t = b.map(OpKind::kCastTranspose, "experts down grad^T", {t.grad8},
                              Dtype::kFp8Row, m.hidden, r.expanded);
  const auto expert_pair = [&](const char* name, TensorId x_t, TensorId grad_t, int64_t out,
                               int64_t in, ParamId weight) {
    for (int64_t e = 0; e < r.local_experts; ++e) {
      b.stream(e % 2 == 0 ? StreamKind::kCompute : StreamKind::kComputeAux);
      b.op(OpKind::kGemmFp8Wgrad, name, {.m = out, .n = in, .k = rows}, {x_t, grad_t}, {}, weight);
      // The op reads one expert's share of the operands.
      b.graph().ops.back().work.hbm = Bytes(rows * (in + out) + 8 * in * out);
    }
    b.stream(StreamKind::kCompute);
  };
  expert_pair("experts down wgrad", t.activation_t, dy_t, m.hidden, m.expert_ffn, t.expert_down);
  const TensorId x_t = b.map(OpKind::kCastTranspose, "experts gate_up input^T",
                             {t.arrived8, t.layout}, Dtype::kFp8Row, m.hidden, r.expanded);
  expert_pair("experts gate_up wgrad", x_t, t.dgate_t, 2 * m.expert_ffn, m.hidden,
              t.expert_gate_up);
  b.row_proportional(false);
}

}  // namespace orrery
