// The local experts of a MoE layer as grouped products over rows sorted by expert. An expert's
// matrices lie in memory as [in, out]: FP8 kernels want [out, in] for the forward and transpose
// them there, as DeepSeek's profile shows; the input gradient reads them as they are.
#include "sim/graph/moe.h"

namespace orrery {
namespace {

constexpr DynamicRows kRows = DynamicRows::kExpanded;
constexpr DynamicRows kTokens = DynamicRows::kGathered;  // without expert-TP those that arrived

std::string first_name(const ModelSpec& m) {
  return is_gated(m.activation) ? "experts gate_up" : "experts up";
}

// Sums of each local expert's rows of dy, times their routing weights where the op is weighted.
void bias_grad(StageBuilder& b, const std::string& name, TensorId dy, TensorId layout, int64_t cols,
               ParamId bias) {
  b.op(OpKind::kBiasBackward, name,
       {.m = b.balanced(kRows), .n = cols, .groups = b.rows().local_experts}, {dy, layout}, {},
       bias);
}

// Scale factors copied to the column-major layout that the grouped GEMM reads.
TensorId copy_scales(StageBuilder& b, const std::string& name, TensorId x, int64_t cols) {
  const int64_t tiles = (cols + 127) / 128;
  const TensorId out = b.map(OpKind::kTransposeScales, name + " scales", {x}, Dtype::kFp32, tiles,
                             b.balanced(kRows));
  b.last_op().work.pattern = AccessPattern::kStream;
  b.graph().tensors[out.v].dynamic_cols = kRows;
  return out;
}

// Products of the local experts as one grouped GEMM over the expanded rows: x · W with W [in, out]
// (forward) or x · Wᵀ with W [out, in] (input gradient).
TensorId grouped_gemm(StageBuilder& b, const std::string& name, GemmLayout layout, TensorId x,
                      int64_t in, int64_t out, TensorId layout_rows, ParamId weight,
                      ParamId bias = {}) {
  const OpShape shape{.m = b.balanced(kRows), .n = out, .k = in, .groups = b.rows().local_experts};
  const std::string output = name + " out";
  if (!b.fp8()) {
    const TensorId operand = b.operand(name, x);
    const TensorId y = b.dynamic_tensor(output, Dtype::kBf16, kRows, out);
    b.product(name, layout, shape, {operand, layout_rows}, {y}, weight);
    b.last_op().bias = bias;
    return y;
  }
  std::vector<TensorId> operands = {x, layout_rows};
  if (layout == GemmLayout::kNN) {
    const Param& p = b.graph().params[weight.v];
    const TensorId transposed =
        b.map(OpKind::kTransposeFp8, name + " weight transpose", {}, Dtype::kFp8Block,
              p.groups * p.cols, p.rows / p.groups, weight);
    b.last_op().shape.groups = p.groups;
    b.graph().tensors[transposed.v].groups = p.groups;
    operands.push_back(transposed);
    weight = {};
  }
  operands.insert(operands.begin() + 1, copy_scales(b, name, x, in));
  const TensorId y = b.dynamic_tensor(output, Dtype::kBf16, kRows, out);
  b.op(OpKind::kGemmFp8, name, shape, operands, {y}, weight);
  b.last_op().bias = bias;
  return y;
}

void expert_layout(StageBuilder& b, FfnTape& t) {
  const ExpertRows& r = b.rows();
  const int64_t k = b.model().experts_per_token;
  // Offsets, source and weight of each row, and the rows of each arrived token's choices.
  const int64_t words = r.local_experts + 1 + 2 * r.expanded + r.gathered * k;
  t.layout =
      b.map(OpKind::kExpertLayout, "expert layout", {t.arrived_routing}, Dtype::kInt32, 1, words);
  b.graph().tensors[t.layout.v].packed = PackedIndex::kExpertLayout;
}

bool shares_experts(const StageBuilder& b) { return b.config().plan.expert_tensor_parallel > 1; }

// A collective of the ranks that hold a part of the same experts, over rows of any number.
void expert_tensor_collective(StageBuilder& b, OpKind kind, const std::string& name,
                              const std::vector<TensorId>& in, const std::vector<TensorId>& out) {
  b.stream(StreamKind::kTensor);
  int64_t row_bytes = 0;
  for (TensorId t : in) {
    const Tensor& x = b.graph().tensors[t.v];
    row_bytes += tensor_bytes(x.dtype, 1, x.cols).count();
  }
  b.op(kind, name, {.m = b.rows().gathered, .n = row_bytes}, in, out).comm =
      CommKind::kExpertTensor;
  b.stream(StreamKind::kCompute);
}

// The rows that arrived at all of them, with their routing where `routing` is valid.
TensorId gather_arrived(StageBuilder& b, const char* name, TensorId x, TensorId* routing) {
  if (!shares_experts(b)) return x;
  const Tensor t = b.graph().tensors[x.v];
  std::vector<TensorId> in = {x}, out = {b.dynamic_tensor(name, t.dtype, kTokens, t.cols)};
  if (routing != nullptr) {
    const Tensor r = b.graph().tensors[routing->v];
    in.push_back(*routing);
    out.push_back(b.dynamic_tensor("gathered routing", Dtype::kInt32, kTokens, r.cols));
    *routing = out[1];
  }
  expert_tensor_collective(b, OpKind::kAllGather, name, in, out);
  return out[0];
}

// Rows come with one for each expert already, and autograd keeps what the first product read; else
// they are expanded again for its weight gradient, which takes less memory.
bool keeps_expanded(const StageBuilder& b) {
  return b.config().stack.token_dispatch == TokenDispatch::kPerExpert && !b.fp8() &&
         b.config().plan.expert_parallel > 1;
}

// The sums over them, each rank's own rows.
void scatter_arrived(StageBuilder& b, const char* name, const std::vector<TensorId*>& sums) {
  if (!shares_experts(b)) return;
  std::vector<TensorId> in, out;
  for (TensorId* x : sums) {
    const Tensor t = b.graph().tensors[x->v];
    in.push_back(*x);
    out.push_back(b.dynamic_tensor(name, t.dtype, DynamicRows::kArrived, t.cols));
    *x = out.back();
  }
  expert_tensor_collective(b, OpKind::kReduceScatter, name, in, out);
}

}  // namespace

TensorId experts_forward(StageBuilder& b, FfnTape& t) {
  const ModelSpec& m = b.model();
  const int64_t width = expert_width(b);
  t.arrived = gather_arrived(b, "gathered tokens", t.arrived, &t.arrived_routing);
  expert_layout(b, t);
  b.row_proportional(true);
  const TensorId x = b.dynamic_map(OpKind::kPermute, "permute tokens", {t.arrived, t.layout},
                                   b.payload_dtype(), kRows, m.hidden);
  if (keeps_expanded(b)) t.arrived = x;
  const TensorId gate_up =
      grouped_gemm(b, first_name(m) + " fwd", GemmLayout::kNN, x, m.hidden, m.gate_factor() * width,
                   t.layout, t.expert_gate_up, t.expert_gate_up_bias);
  const ActivationOps ops = activation_ops(m);
  const std::string name = std::string("experts ") + ops.name;
  const bool fused = b.fuses_expert_epilogues();
  b.in_epilogue(fused);
  const TensorId act =
      b.fp8() ? b.dynamic_map(ops.cast, name + "+cast", {gate_up}, Dtype::kFp8Row, kRows, width)
              : b.dynamic_map(ops.map, name, {gate_up}, Dtype::kBf16, kRows, width);
  if (fused) b.operand("experts down fwd", act);
  b.in_epilogue(false);
  const TensorId y = grouped_gemm(b, "experts down fwd", GemmLayout::kNN, act, width, m.hidden,
                                  t.layout, t.expert_down, t.expert_down_bias);
  TensorId out = b.dynamic_map(OpKind::kUnpermute, "unpermute tokens", {y, t.layout}, Dtype::kBf16,
                               kTokens, m.hidden);
  b.last_op().shape.index = 1;  // weighted
  t.expert_gate_up_kept = gate_up;
  b.row_proportional(false);
  scatter_arrived(b, "expert outputs", {&out});
  return out;
}

void experts_keep(StageBuilder& b, FfnTape& t) {
  if (!b.fp8() || !b.config().plan.recompute.swiglu) return;
  b.row_proportional(true);
  t.expert_gate_up_kept = b.operand(first_name(b.model()) + " keep", t.expert_gate_up_kept);
  b.row_proportional(false);
}

TensorId experts_backward(StageBuilder& b, TensorId dy_arrived, FfnTape& t, TensorId& dweights) {
  const ModelSpec& m = b.model();
  const int64_t width = expert_width(b), wide = m.gate_factor() * width;
  const std::string first = first_name(m);
  dy_arrived = gather_arrived(b, "gathered grads", dy_arrived, nullptr);
  b.row_proportional(true);
  TensorId gate_up = t.expert_gate_up_kept;
  if (b.fp8() && b.config().plan.recompute.swiglu)
    gate_up = b.dynamic_map(OpKind::kCastBack, first + " cast back", {gate_up}, Dtype::kBf16, kRows,
                            wide);
  t.grad = b.dynamic_map(OpKind::kPermute, "permute grads", {dy_arrived, t.layout},
                         b.payload_dtype(), kRows, m.hidden);
  const TensorId dact = grouped_gemm(b, "experts down dgrad", GemmLayout::kNT, t.grad, m.hidden,
                                     width, t.layout, t.expert_down);
  const TensorId act = b.dynamic_tensor("experts activation", Dtype::kBf16, kRows, width);
  const TensorId dgate = b.dynamic_tensor(first + " grad", Dtype::kBf16, kRows, wide);
  const ActivationOps ops = activation_ops(m);
  const bool fused = b.fuses_expert_epilogues();
  b.in_epilogue(fused);
  b.op(ops.backward, std::string("experts ") + ops.name + " fwd+bwd",
       {.m = b.balanced(kRows), .n = width}, {gate_up, dact, t.layout}, {dgate, act});
  dweights = b.dynamic_tensor("arrived weight grads", Dtype::kFp32, kTokens, m.experts_per_token);
  std::vector<TensorId> products = {act, dact, t.layout};
  if (m.ffn_bias) products.push_back(t.grad);  // the weight also multiplies the bias
  b.op(OpKind::kSwiGluWeightBackward, "experts routing weight grad",
       {.m = b.balanced(kRows), .n = width}, products, {dweights}, t.expert_down_bias);
  b.in_epilogue(false);
  if (m.ffn_bias) {
    bias_grad(b, "experts down bias grad", t.grad, t.layout, m.hidden, t.expert_down_bias);
    b.last_op().shape.index = 1;  // weighted
    bias_grad(b, first + " bias grad", dgate, t.layout, wide, t.expert_gate_up_bias);
  }
  b.in_epilogue(fused);
  t.activation = b.transposed_operand("experts down input^T", act, width);
  const TensorId dgate_operand = b.payload(first + " grad", dgate);
  if (fused) b.operand(first + " dgrad", dgate_operand);
  b.in_epilogue(false);
  const TensorId dx = grouped_gemm(b, first + " dgrad", GemmLayout::kNT, dgate_operand, wide,
                                   m.hidden, t.layout, t.expert_gate_up);
  TensorId out = b.dynamic_map(OpKind::kUnpermute, "unpermute grads", {dx, t.layout}, Dtype::kBf16,
                               kTokens, m.hidden);
  t.dgate = b.transposed_operand(first + " grad^T", dgate, wide);
  b.row_proportional(false);
  scatter_arrived(b, "expert input grads", {&out, &dweights});
  return out;
}

void expert_wgrads(StageBuilder& b, const FfnTape& t) {
  const ModelSpec& m = b.model();
  const ExpertRows& r = b.rows();
  const int64_t rows = r.expanded / r.local_experts, width = expert_width(b);
  b.row_proportional(true);
  // Gradient [in, out] of each expert: its rows of x, transposed, times those of dy. All experts in
  // one launch, or one after the other on two streams.
  const int64_t at_once = b.config().stack.grouped_wgrad ? r.local_experts : 1;
  const auto each_expert = [&](const std::string& name, TensorId x, TensorId dy, int64_t in,
                               int64_t out, ParamId weight) {
    for (int64_t e = 0; e < r.local_experts; e += at_once) {
      b.stream(e % 2 == 0 ? StreamKind::kCompute : StreamKind::kComputeAux);
      const OpShape shape{.m = in, .n = out, .k = rows * at_once, .groups = at_once, .index = e};
      if (b.fp8() || b.casts())
        b.op(OpKind::kGemmFp8Wgrad, name, shape, {x, dy, t.layout}, {}, weight);
      else
        b.gemm(name, GemmLayout::kTN, shape, {x, dy, t.layout}, {}, weight);
      // The op reads these experts' share of the operands.
      b.last_op().work.hbm = tensor_bytes(b.operand_dtype(), in, shape.k) +
                             tensor_bytes(b.operand_dtype(), out, shape.k) +
                             Bytes(8 * in * out * at_once);
    }
    b.stream(StreamKind::kCompute);
  };
  const TensorId dy = b.transposed_operand("experts down grad^T", t.grad, m.hidden);
  each_expert("experts down wgrad", t.activation, dy, width, m.hidden, t.expert_down);
  TensorId x;
  if (b.fp8()) {
    x = b.map(OpKind::kCastTranspose, first_name(m) + " input^T", {t.arrived, t.layout},
              Dtype::kFp8Row, m.hidden, r.expanded);
    b.graph().tensors[x.v].dynamic_cols = kRows;
  } else {
    x = keeps_expanded(b) ? t.arrived
                          : b.dynamic_map(OpKind::kPermute, "permute tokens again",
                                          {t.arrived, t.layout}, Dtype::kBf16, kRows, m.hidden);
    x = b.transposed_operand("experts gate_up input^T", x, m.hidden);
  }
  each_expert(first_name(m) + " wgrad", x, t.dgate, m.hidden, m.gate_factor() * width,
              t.expert_gate_up);
  b.row_proportional(false);
}

}  // namespace orrery
