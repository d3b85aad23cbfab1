#include "sim/graph/attention_core.h"

#include <fmt/format.h>

namespace orrery {
namespace {

bool ring(const StageBuilder& b) {
  const PlanSpec& p = b.config().plan;
  return p.context_parallel > 1 && p.context_parallel_kind == ContextParallelKind::kRing;
}

bool all_to_all(const StageBuilder& b) { return b.config().plan.context_parallel > 1 && !ring(b); }

OpShape op_shape(const StageBuilder& b, const CoreShape& s, int64_t step) {
  const PlanSpec& p = b.config().plan;
  const int64_t ways = all_to_all(b) ? p.context_parallel : 1;
  return {.m = p.micro_batch,
          .n = all_to_all(b) ? p.sequence_length : p.sequence_length / p.context_parallel,
          .k = s.heads / ways,
          .groups = s.kv_heads / ways,
          .d_qk = s.d_qk,
          .d_v = s.d_v,
          .index = step,
          .window = s.window};
}

std::vector<TensorId> all(TensorId q, const std::vector<TensorId>& kv) {
  std::vector<TensorId> ids = {q};
  ids.insert(ids.end(), kv.begin(), kv.end());
  return ids;
}

int64_t row_bytes(const Tensor& t) { return tensor_bytes(t.dtype, 1, t.cols).count(); }

// To the next rank of the ring; what the one before sent.
std::vector<TensorId> exchange(StageBuilder& b, const char* name, const std::vector<TensorId>& x) {
  b.stream(StreamKind::kTensor);
  std::vector<TensorId> out;
  OpShape shape{.m = b.tokens()};
  for (TensorId id : x) {
    const Tensor t = b.graph().tensors[id.v];
    shape.n += row_bytes(t);
    out.push_back(b.tensor(t.name, t.dtype, t.rows, t.cols));
  }
  b.op(OpKind::kRingExchange, name, shape, x, out).comm = CommKind::kContext;
  b.stream(StreamKind::kCompute);
  return out;
}

// Heads for positions (kScatterHeads) or back. A row of keys and values has `first` elements of
// keys.
TensorId move_heads(StageBuilder& b, OpKind kind, const char* name, TensorId x, int64_t first) {
  const PlanSpec& p = b.config().plan;
  const Tensor t = b.graph().tensors[x.v];
  const bool scatter = kind == OpKind::kScatterHeads;
  const int64_t n = p.context_parallel;
  b.stream(StreamKind::kTensor);
  const TensorId out =
      b.tensor(name, t.dtype, scatter ? t.rows * n : t.rows / n, scatter ? t.cols / n : t.cols * n);
  b.op(kind, name, {.m = t.rows, .n = row_bytes(t), .k = p.micro_batch, .first = first}, {x}, {out})
      .comm = CommKind::kContext;
  b.stream(StreamKind::kCompute);
  return out;
}

// Elements of keys in a row of keys and values together; 0: separate tensors.
int64_t keys_of(const CoreShape& s, const std::vector<TensorId>& kv, int64_t ways) {
  return kv.size() == 1 ? s.kv_heads / ways * s.d_qk : 0;
}

CoreOperands scatter(StageBuilder& b, const CoreShape& s, const CoreOperands& in) {
  CoreOperands out{move_heads(b, OpKind::kScatterHeads, "scatter q", in.q, 0), {}};
  for (TensorId x : in.kv)
    out.kv.push_back(move_heads(b, OpKind::kScatterHeads, "scatter kv", x, keys_of(s, in.kv, 1)));
  return out;
}

TensorId cast_for_core(StageBuilder& b, const std::string& name, TensorId x) {
  const Tensor t = b.graph().tensors[x.v];
  return b.map(OpKind::kCast, name + " cast", {x}, Dtype::kFp8Tensor, t.rows, t.cols);
}

// What the core reads, cast where it computes in FP8.
CoreOperands core_operands(StageBuilder& b, const CoreOperands& in) {
  if (!b.config().plan.fp8_attention) return in;
  CoreOperands out{cast_for_core(b, "q", in.q), {}};
  for (TensorId x : in.kv) out.kv.push_back(cast_for_core(b, "kv", x));
  return out;
}

struct Partial {
  TensorId out, lse, probabilities, dropped = {}, mask = {};
};

// The core on one block of keys and values; `step` as OpShape::index.
Partial attend(StageBuilder& b, const CoreShape& s, const CoreOperands& in, int64_t step) {
  const OpShape shape = op_shape(b, s, step);
  const int64_t rows = shape.m * shape.n;
  Partial p{b.tensor("attention out", Dtype::kBf16, rows, shape.k * s.d_v),
            b.tensor("log-sum-exp", Dtype::kFp32, rows, shape.k),
            {}};
  if (s.unfused && step == 0) {
    p.probabilities = b.tensor("attention probabilities", Dtype::kBf16, rows * shape.k, shape.n);
    if (b.model().attention_dropout > 0) {
      p.dropped = b.tensor("dropped probabilities", Dtype::kBf16, rows * shape.k, shape.n);
      p.mask = b.tensor("attention dropout mask", Dtype::kUint8, rows * shape.k, shape.n);
    }
  }
  std::vector<TensorId> results;
  for (TensorId made : {p.out, p.lse, p.probabilities, p.dropped, p.mask})
    if (made.valid()) results.push_back(made);
  b.op(OpKind::kAttention, "attention core fwd", shape, all(in.q, in.kv), results, s.sinks);
  return p;
}

CoreOperands attend_backward(StageBuilder& b, const CoreShape& s, const CoreOperands& in,
                             TensorId out, TensorId dout, const CoreTape& t, int64_t step) {
  static constexpr const char* kSeparate[] = {"dk", "dv"};
  const auto like = [&](const char* name, TensorId x) {
    const Tensor of = b.graph().tensors[x.v];
    return b.tensor(name, Dtype::kBf16, of.rows, of.cols);
  };
  CoreOperands grads{like("dq", in.q), {}};
  for (std::size_t i = 0; i < in.kv.size(); ++i)
    grads.kv.push_back(like(in.kv.size() == 1 ? "dkv" : kSeparate[i], in.kv[i]));
  std::vector<TensorId> inputs = all(in.q, in.kv);
  inputs.insert(inputs.end(), {out, dout, t.lse});
  for (TensorId kept : {t.probabilities, t.dropped, t.mask})
    if (kept.valid()) inputs.push_back(kept);
  b.op(OpKind::kAttentionBackward, "attention core bwd", op_shape(b, s, step), std::move(inputs),
       all(grads.q, grads.kv), s.sinks);
  return grads;
}

// The sum in FP32, or of one tensor its values; BF16 at the end.
TensorId sum_in(StageBuilder& b, Dtype dtype, const char* name, std::vector<TensorId> x) {
  const Tensor t = b.graph().tensors[x[0].v];
  return b.map(OpKind::kAdd, name, std::move(x), dtype, t.rows, t.cols);
}

// Outputs over some of the keys and their log-sum-exps to those over all of them.
Partial merge(StageBuilder& b, const CoreShape& s, std::vector<TensorId> outs,
              const std::vector<TensorId>& sums, Dtype dtype) {
  const Partial all{b.tensor("attention out", dtype, b.tokens(), s.heads * s.d_v),
                    b.tensor("log-sum-exp", Dtype::kFp32, b.tokens(), s.heads),
                    {}};
  outs.insert(outs.end(), sums.begin(), sums.end());
  b.op(OpKind::kAttentionMerge, "merge attention outputs", {.m = b.tokens(), .n = s.heads * s.d_v},
       std::move(outs), {all.out, all.lse});
  return all;
}

TensorId ring_forward(StageBuilder& b, const CoreShape& s, const CoreOperands& in, CoreTape& t) {
  const int64_t steps = b.config().plan.context_parallel;
  const bool each = b.config().stack.fp32_ring;
  CoreOperands block = in;
  std::vector<TensorId> parts, sums;
  for (int64_t step = 1; step <= steps; ++step) {
    std::vector<TensorId> next;
    if (step < steps) next = exchange(b, "next keys and values", block.kv);
    const Partial p = attend(b, s, block, step);
    parts.push_back(p.out);
    sums.push_back(p.lse);
    if (each && step > 1 && step < steps) {
      const Partial so_far = merge(b, s, parts, sums, Dtype::kFp32);
      parts = {so_far.out}, sums = {so_far.lse};
    }
    block.kv = next;
  }
  const Partial all = merge(b, s, std::move(parts), sums, Dtype::kBf16);
  t.lse = all.lse;
  return all.out;
}

CoreOperands ring_backward(StageBuilder& b, const CoreShape& s, TensorId out, TensorId dout,
                           const CoreTape& t) {
  const int64_t steps = b.config().plan.context_parallel;
  const bool fp32 = b.config().stack.fp32_ring;
  const Dtype sums = fp32 ? Dtype::kFp32 : Dtype::kBf16;
  CoreOperands block = t.operands;
  std::vector<TensorId> dq, travelling;
  for (int64_t step = 1; step <= steps; ++step) {
    std::vector<TensorId> next;
    if (step < steps) next = exchange(b, "next keys and values", block.kv);
    CoreOperands grads = attend_backward(b, s, block, out, dout, t, step);
    dq.push_back(grads.q);
    for (std::size_t i = 0; i < grads.kv.size(); ++i) {
      std::vector<TensorId> x = {grads.kv[i]};
      if (step > 1) x.push_back(travelling[i]);
      if (fp32 || step > 1) grads.kv[i] = sum_in(b, sums, "add kv grads", std::move(x));
    }
    travelling = exchange(b, "kv grads onwards", grads.kv);
    if (fp32 && step > 1 && step < steps)
      dq = {sum_in(b, Dtype::kFp32, "add q grads", std::move(dq))};
    block.kv = next;
  }
  if (fp32)
    for (TensorId& x : travelling) x = sum_in(b, Dtype::kBf16, "kv grads to bf16", {x});
  return {sum_in(b, Dtype::kBf16, "add q grads", std::move(dq)), travelling};
}

}  // namespace

TensorId core_forward(StageBuilder& b, const CoreShape& s, const CoreOperands& in, CoreTape& t) {
  t.operands = in;
  if (ring(b)) return ring_forward(b, s, in, t);
  t.operands = all_to_all(b) ? scatter(b, s, in) : core_operands(b, in);
  if (b.again_selected()) {
    t.lse = b.kept_core()[1];
    return b.kept_core()[0];
  }
  const Partial p = attend(b, s, t.operands, 0);
  b.kept_core() = {p.out, p.lse};
  t.lse = p.lse;
  t.probabilities = p.probabilities;
  t.dropped = p.dropped, t.mask = p.mask;
  if (!all_to_all(b)) return p.out;
  t.out = p.out;
  return move_heads(b, OpKind::kGatherHeads, "gather attention out", p.out, 0);
}

TensorId core_again(StageBuilder& b, const CoreShape& s, const CoreOperands& in, CoreTape& t) {
  t = {};
  b.again(true);
  const TensorId out = core_forward(b, s, in, t);
  b.again(false);
  return out;
}

void core_operands_again(StageBuilder& b, const CoreShape& s, const CoreOperands& in, CoreTape& t) {
  t.operands = all_to_all(b) ? scatter(b, s, in) : core_operands(b, in);
}

CoreOperands core_backward(StageBuilder& b, const CoreShape& s, TensorId out, TensorId dout,
                           CoreTape& t) {
  if (ring(b)) return ring_backward(b, s, out, dout, t);
  if (b.config().plan.fp8_attention) dout = cast_for_core(b, "attention grad", dout);
  if (!all_to_all(b)) return attend_backward(b, s, t.operands, out, dout, t, 0);
  const int64_t n = b.config().plan.context_parallel;
  dout = move_heads(b, OpKind::kScatterHeads, "scatter attention grad", dout, 0);
  const CoreOperands grads = attend_backward(b, s, t.operands, t.out, dout, t, 0);
  CoreOperands own{move_heads(b, OpKind::kGatherHeads, "gather q grad", grads.q, 0), {}};
  for (TensorId x : grads.kv)
    own.kv.push_back(
        move_heads(b, OpKind::kGatherHeads, "gather kv grad", x, keys_of(s, grads.kv, n)));
  return own;
}

}  // namespace orrery
