#include "sim/graph/stage_builder.h"

#include <algorithm>

#include "sim/graph/work.h"

namespace orrery {

ExpertRows expert_rows(const GraphConfig& c) {
  ExpertRows r;
  if (c.model.experts == 0) return r;
  const ModelSpec& m = c.model;
  const int64_t tokens = c.plan.tokens_per_micro_batch();
  const int64_t ranks = c.plan.expert_parallel;
  r.local_experts = m.experts / ranks;
  r.expanded = tokens * m.experts_per_token + r.local_experts * 64;
  // A token reaches the experts of `top_groups` groups; a rank holds `local_experts` of them.
  const int64_t reachable = m.experts / m.expert_groups * m.top_groups;
  double miss = 1;  // that a given rank among them holds none of the k chosen experts
  for (int64_t i = 0; i < r.local_experts; ++i)
    miss *= std::max(
        0.0, 1.0 - static_cast<double>(m.experts_per_token) / static_cast<double>(reachable - i));
  const double distinct =
      static_cast<double>(reachable) / static_cast<double>(r.local_experts) * (1 - miss);
  r.arrived = static_cast<int64_t>(static_cast<double>(tokens) * distinct + 0.5);
  const int64_t nodes = (ranks + c.gpus_per_node - 1) / c.gpus_per_node;
  r.nodes_per_token = std::min(nodes, m.experts_per_token);
  if (c.plan.max_nodes_per_token > 0)
    r.nodes_per_token = std::min(r.nodes_per_token, c.plan.max_nodes_per_token);
  return r;
}

StageBuilder::StageBuilder(const GraphConfig& config)
    : config_(config), rows_(expert_rows(config)) {}

void StageBuilder::begin(SegmentKind segment, int unit, int layer) {
  const auto at = static_cast<uint32_t>(graph_.ops.size());
  if (!graph_.segments.empty()) graph_.segments.back().end_op = at;
  graph_.segments.push_back({segment, static_cast<int16_t>(unit), at, at});
  segment_ = segment;
  unit_ = unit;
  layer_ = layer;
  stream_ = StreamKind::kCompute;
  row_proportional_ = false;
}

TensorId StageBuilder::tensor(std::string name, Dtype dtype, int64_t rows, int64_t cols,
                              BufferKind kind) {
  Tensor t{std::move(name), dtype, kind, rows, cols, tensor_bytes(dtype, rows, cols)};
  graph_.tensors.push_back(std::move(t));
  return {static_cast<uint32_t>(graph_.tensors.size() - 1)};
}

ParamId StageBuilder::param(std::string name, Dtype dtype, int64_t rows, int64_t cols,
                            bool expert) {
  graph_.params.push_back({std::move(name), dtype, rows, cols, expert});
  return {static_cast<uint32_t>(graph_.params.size() - 1)};
}

namespace {

Phase phase_of(SegmentKind s) {
  switch (s) {
    case SegmentKind::kAttnF:
    case SegmentKind::kDispatchF:
    case SegmentKind::kMlpF:
    case SegmentKind::kCombineF:
    case SegmentKind::kHeadF:
    case SegmentKind::kRecvF:
    case SegmentKind::kSendF:
      return Phase::kForward;
    case SegmentKind::kMlpW:
    case SegmentKind::kAttnW:
    case SegmentKind::kHeadW:
      return Phase::kWeight;
    case SegmentKind::kOptimizer:
      return Phase::kOptimizer;
    default:
      return Phase::kBackward;
  }
}

}  // namespace

namespace {

CommKind comm_of(OpKind k, Phase phase) {
  switch (k) {
    case OpKind::kNotify:
    case OpKind::kDispatch:
    case OpKind::kCombine:
      return CommKind::kExpert;
    case OpKind::kSend:
    case OpKind::kRecv:
      return phase == Phase::kForward ? CommKind::kForwardP2p : CommKind::kBackwardP2p;
    default:
      return CommKind::kNone;
  }
}

}  // namespace

void StageBuilder::op(OpKind kind, std::string name, OpShape shape, std::vector<TensorId> inputs,
                      std::vector<TensorId> outputs, ParamId param) {
  Op op;
  op.kind = kind;
  op.phase = phase_of(segment_);
  op.segment = segment_;
  op.stream = stream_;
  op.row_proportional = row_proportional_;
  op.unit = static_cast<int16_t>(unit_);
  op.layer = layer_;
  op.name = std::move(name);
  op.shape = shape;
  op.param = param;
  op.first_operand = static_cast<uint32_t>(graph_.operands.size());
  op.inputs = static_cast<uint16_t>(inputs.size());
  op.outputs = static_cast<uint16_t>(outputs.size());
  graph_.operands.insert(graph_.operands.end(), inputs.begin(), inputs.end());
  graph_.operands.insert(graph_.operands.end(), outputs.begin(), outputs.end());
  op.comm = comm_of(kind, op.phase);
  op.work = op_work(graph_, op);
  graph_.ops.push_back(std::move(op));
}

TensorId StageBuilder::map(OpKind kind, std::string name, std::vector<TensorId> inputs, Dtype dtype,
                           int64_t rows, int64_t cols, ParamId param) {
  const TensorId out = tensor(name, dtype, rows, cols);
  op(kind, std::move(name), {.m = rows, .n = cols}, std::move(inputs), {out}, param);
  return out;
}

StageBuilder::Linear StageBuilder::linear(const std::string& name, int64_t in, int64_t out) {
  return {name, param(name + ".weight", Dtype::kFp8Block, out, in), in, out};
}

TensorId StageBuilder::cast(const std::string& name, TensorId x) {
  const Tensor t = graph_.tensors[x.v];
  return map(OpKind::kCast, name + " cast", {x}, Dtype::kFp8Row, t.rows, t.cols);
}

TensorId StageBuilder::linear_forward(const Linear& l, TensorId x, const char* role) {
  return linear_forward_fp8(l, cast(l.name, x), role);
}

TensorId StageBuilder::linear_forward_fp8(const Linear& l, TensorId x8, const char* role) {
  const int64_t rows = graph_.tensors[x8.v].rows;
  op(OpKind::kTransposeScales, l.name + " scales", {.m = rows, .n = (l.in + 127) / 128}, {x8}, {});
  const TensorId y = tensor(l.name + " out", Dtype::kBf16, rows, l.out);
  op(OpKind::kGemmFp8, l.name + " " + role, {.m = rows, .n = l.out, .k = l.in}, {x8}, {y},
     l.weight);
  return y;
}

TensorId StageBuilder::linear_dgrad(const Linear& l, TensorId dy) {
  const int64_t rows = graph_.tensors[dy.v].rows;
  op(OpKind::kTransposeFp8, l.name + " weight transpose", {.m = l.out, .n = l.in}, {}, {},
     l.weight);
  const TensorId dy8 = cast(l.name + " grad", dy);
  op(OpKind::kTransposeScales, l.name + " scales", {.m = rows, .n = (l.out + 127) / 128}, {dy8},
     {});
  const TensorId dx = tensor(l.name + " dgrad out", Dtype::kBf16, rows, l.in);
  op(OpKind::kGemmFp8, l.name + " dgrad", {.m = rows, .n = l.in, .k = l.out}, {dy8}, {dx},
     l.weight);
  return dx;
}

std::pair<TensorId, TensorId> StageBuilder::prepare_wgrad(const Linear& l, TensorId x,
                                                          TensorId dy) {
  const int64_t rows = graph_.tensors[x.v].rows;
  const TensorId xt =
      map(OpKind::kCastTranspose, l.name + " input^T", {x}, Dtype::kFp8Row, l.in, rows);
  const TensorId dyt =
      map(OpKind::kCastTranspose, l.name + " grad^T", {dy}, Dtype::kFp8Row, l.out, rows);
  return {xt, dyt};
}

void StageBuilder::linear_wgrad(const Linear& l, std::pair<TensorId, TensorId> operands) {
  const int64_t rows = graph_.tensors[operands.first.v].cols;
  op(OpKind::kGemmFp8Wgrad, l.name + " wgrad", {.m = l.out, .n = l.in, .k = rows},
     {operands.first, operands.second}, {}, l.weight);
}

TensorId StageBuilder::rms_norm(const std::string& name, TensorId x, ParamId weight) {
  const Tensor t = graph_.tensors[x.v];
  return map(OpKind::kRmsNorm, name, {x}, Dtype::kBf16, t.rows, t.cols, weight);
}

TensorId StageBuilder::rms_norm_add(const std::string& name, TensorId& x, const Addends& add,
                                    ParamId weight) {
  if (add.empty()) return rms_norm(name, x, weight);
  const Tensor t = graph_.tensors[x.v];
  const TensorId sum = tensor(name + " residual", Dtype::kBf16, t.rows, t.cols);
  const TensorId out = tensor(name, Dtype::kBf16, t.rows, t.cols);
  std::vector<TensorId> in = {x};
  in.insert(in.end(), add.begin(), add.end());
  op(OpKind::kRmsNorm, name, {.m = t.rows, .n = t.cols}, std::move(in), {sum, out}, weight);
  x = sum;
  return out;
}

TensorId StageBuilder::add(const std::string& name, TensorId x, const Addends& add) {
  if (add.empty()) return x;
  const Tensor t = graph_.tensors[x.v];
  std::vector<TensorId> in = {x};
  in.insert(in.end(), add.begin(), add.end());
  return map(OpKind::kAdd, name, std::move(in), Dtype::kBf16, t.rows, t.cols);
}

TensorId StageBuilder::rms_norm_backward(const std::string& name, TensorId dy, TensorId x,
                                         ParamId weight, TensorId residual_grad) {
  const Tensor t = graph_.tensors[x.v];
  const TensorId partial =
      tensor(name + " partial", Dtype::kFp32, 132, t.cols, BufferKind::kWorkspace);
  const TensorId dx = tensor(name + " dx", Dtype::kBf16, t.rows, t.cols);
  std::vector<TensorId> in = {dy, x};
  if (residual_grad.valid()) in.push_back(residual_grad);
  op(OpKind::kRmsNormBackward, name + " bwd", {.m = t.rows, .n = t.cols}, std::move(in),
     {dx, partial}, weight);
  op(OpKind::kRmsNormReduce, name + " bwd reduce", {.m = 132, .n = t.cols}, {partial}, {}, weight);
  return dx;
}

StageGraph StageBuilder::finish() {
  if (!graph_.segments.empty())
    graph_.segments.back().end_op = static_cast<uint32_t>(graph_.ops.size());
  graph_.index_readers();
  return std::move(graph_);
}

}  // namespace orrery
