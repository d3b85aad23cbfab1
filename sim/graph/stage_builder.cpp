#include "sim/graph/stage_builder.h"

#include <algorithm>

#include "sim/graph/work.h"

namespace orrery {

namespace {

int64_t tiles(int64_t n) { return (n + 127) / 128; }

}  // namespace

ExpertRows expert_rows(const GraphConfig& c) {
  ExpertRows r;
  if (c.model.experts == 0) return r;
  const ModelSpec& m = c.model;
  const int64_t tokens = c.plan.tokens_per_micro_batch();
  const int64_t ranks = c.plan.expert_parallel;
  r.local_experts = m.experts / ranks;
  r.expanded = tokens * m.experts_per_token + r.local_experts * 64;
  // A token reaches the experts of `top_groups` groups; a rank holds `local_experts` of them. Where
  // a rank holds several groups, the choice counts as one among all experts.
  const int64_t group = m.experts / m.expert_groups;
  const int64_t reachable = r.local_experts <= group ? group * m.top_groups : m.experts;
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

namespace {

SegmentKind again_segment(SegmentKind s) {
  switch (s) {
    case SegmentKind::kAttnF:
      return SegmentKind::kAttnR;
    case SegmentKind::kDispatchF:
      return SegmentKind::kDispatchR;
    case SegmentKind::kMlpF:
      return SegmentKind::kMlpR;
    case SegmentKind::kCombineF:
      return SegmentKind::kCombineR;
    default:
      return s;
  }
}

}  // namespace

void StageBuilder::begin(SegmentKind segment, int unit, int layer) {
  if (again_) segment = again_segment(segment);
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
  Tensor t;
  t.name = std::move(name);
  t.dtype = dtype;
  t.kind = kind;
  t.rows = rows;
  t.cols = cols;
  t.bytes = tensor_bytes(dtype, rows, cols);
  t.unit = static_cast<int16_t>(unit_);
  graph_.tensors.push_back(std::move(t));
  return {static_cast<uint32_t>(graph_.tensors.size() - 1)};
}

TensorId StageBuilder::dynamic_tensor(std::string name, Dtype dtype, DynamicRows rows,
                                      int64_t cols) {
  const TensorId t = tensor(std::move(name), dtype, balanced(rows), cols);
  graph_.tensors.back().dynamic_rows = rows;
  return t;
}

ParamId StageBuilder::param(std::string name, Dtype dtype, int64_t rows, int64_t cols) {
  if (again_) return graph_.find_param(name, layer_);
  Param p;
  p.name = std::move(name);
  p.dtype = dtype;
  p.rows = rows;
  p.cols = cols;
  p.layer = layer_;
  graph_.params.push_back(std::move(p));
  return {static_cast<uint32_t>(graph_.params.size() - 1)};
}

ParamId StageBuilder::norm_param(std::string name, int64_t cols) {
  const ParamId p = param(std::move(name), Dtype::kBf16, 1, cols);
  graph_.params[p.v].init = ParamInit::kOnes;
  return p;
}

ParamId StageBuilder::expert_param(std::string name, int64_t rows, int64_t cols) {
  const ParamId p = param(std::move(name), weight_dtype(), rows_.local_experts * rows, cols);
  graph_.params[p.v].expert = true;
  graph_.params[p.v].groups = rows_.local_experts;
  return p;
}

ParamId StageBuilder::buffer(std::string name, int64_t cols, bool saved) {
  const ParamId p = param(std::move(name), Dtype::kFp32, 1, cols);
  graph_.params[p.v].trained = false;
  graph_.params[p.v].saved = saved;
  graph_.params[p.v].init = ParamInit::kZeros;
  return p;
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

Op& StageBuilder::op(OpKind kind, std::string name, OpShape shape, std::vector<TensorId> inputs,
                     std::vector<TensorId> outputs, ParamId param) {
  Op op;
  op.kind = kind;
  op.phase = phase_of(segment_);
  op.segment = segment_;
  op.stream = stream_;
  op.row_proportional = row_proportional_;
  op.again = again_;
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
  return graph_.ops.back();
}

TensorId StageBuilder::map(OpKind kind, std::string name, std::vector<TensorId> inputs, Dtype dtype,
                           int64_t rows, int64_t cols, ParamId param) {
  const TensorId out = tensor(name, dtype, rows, cols);
  op(kind, std::move(name), {.m = rows, .n = cols}, std::move(inputs), {out}, param);
  return out;
}

TensorId StageBuilder::dynamic_map(OpKind kind, std::string name, std::vector<TensorId> inputs,
                                   Dtype dtype, DynamicRows rows, int64_t cols) {
  const TensorId out = dynamic_tensor(name, dtype, rows, cols);
  op(kind, std::move(name), {.m = balanced(rows), .n = cols}, std::move(inputs), {out});
  return out;
}

void StageBuilder::gemm(std::string name, GemmLayout layout, OpShape shape,
                        std::vector<TensorId> inputs, std::vector<TensorId> outputs,
                        ParamId weight) {
  Op& o = op(OpKind::kGemm, std::move(name), shape, std::move(inputs), std::move(outputs), weight);
  o.layout = layout;
  // The gradient is read and written in FP32, the weight itself not at all.
  if (layout == GemmLayout::kTN) {
    o.work.hbm = Bytes(8 * shape.m * shape.n);
    for (TensorId t : graph_.inputs(o)) o.work.hbm += graph_.tensors[t.v].bytes;
  }
}

StageBuilder::Linear StageBuilder::linear(const std::string& name, int64_t in, int64_t out) {
  return {name, param(name + ".weight", weight_dtype(), out, in), in, out};
}

TensorId StageBuilder::operand(const std::string& name, TensorId x) {
  if (!fp8()) return x;
  const Tensor t = graph_.tensors[x.v];
  const TensorId out = map(OpKind::kCast, name + " cast", {x}, Dtype::kFp8Row, t.rows, t.cols);
  graph_.tensors[out.v].dynamic_rows = t.dynamic_rows;
  return out;
}

TensorId StageBuilder::linear_forward(const Linear& l, TensorId x, const char* role) {
  return linear_forward_operand(l, operand(l.name, x), role);
}

TensorId StageBuilder::linear_forward_operand(const Linear& l, TensorId x, const char* role) {
  const int64_t rows = graph_.tensors[x.v].rows;
  const OpShape shape{.m = rows, .n = l.out, .k = l.in};
  const std::string name = l.name + " " + role;
  if (!fp8()) {
    const TensorId y = tensor(l.name + " out", Dtype::kBf16, rows, l.out);
    gemm(name, GemmLayout::kNT, shape, {x}, {y}, l.weight);
    return y;
  }
  const TensorId scales =
      map(OpKind::kTransposeScales, l.name + " scales", {x}, Dtype::kFp32, tiles(l.in), rows);
  const TensorId y = tensor(l.name + " out", Dtype::kBf16, rows, l.out);
  op(OpKind::kGemmFp8, name, shape, {x, scales}, {y}, l.weight);
  return y;
}

TensorId StageBuilder::linear_dgrad(const Linear& l, TensorId dy) {
  const int64_t rows = graph_.tensors[dy.v].rows;
  const OpShape shape{.m = rows, .n = l.in, .k = l.out};
  if (!fp8()) {
    const TensorId dx = tensor(l.name + " dgrad out", Dtype::kBf16, rows, l.in);
    gemm(l.name + " dgrad", GemmLayout::kNN, shape, {dy}, {dx}, l.weight);
    return dx;
  }
  const TensorId weight = map(OpKind::kTransposeFp8, l.name + " weight transpose", {},
                              Dtype::kFp8Block, l.in, l.out, l.weight);
  const TensorId dy8 = operand(l.name + " grad", dy);
  const TensorId scales =
      map(OpKind::kTransposeScales, l.name + " scales", {dy8}, Dtype::kFp32, tiles(l.out), rows);
  const TensorId dx = tensor(l.name + " dgrad out", Dtype::kBf16, rows, l.in);
  op(OpKind::kGemmFp8, l.name + " dgrad", shape, {dy8, scales, weight}, {dx});
  return dx;
}

TensorId StageBuilder::transposed_operand(const std::string& name, TensorId x, int64_t cols) {
  if (!fp8()) return x;
  const Tensor t = graph_.tensors[x.v];
  const TensorId out = map(OpKind::kCastTranspose, name, {x}, Dtype::kFp8Row, cols, t.rows);
  graph_.tensors[out.v].dynamic_cols = t.dynamic_rows;
  return out;
}

std::pair<TensorId, TensorId> StageBuilder::prepare_wgrad(const Linear& l, TensorId x,
                                                          TensorId dy) {
  const TensorId xt = transposed_operand(l.name + " input^T", x, l.in);
  return {xt, transposed_operand(l.name + " grad^T", dy, l.out)};
}

void StageBuilder::linear_wgrad(const Linear& l, std::pair<TensorId, TensorId> operands) {
  const Tensor& x = graph_.tensors[operands.first.v];
  const OpShape shape{.m = l.out, .n = l.in, .k = fp8() ? x.cols : x.rows};
  const std::vector<TensorId> in = {operands.first, operands.second};
  if (fp8()) {
    op(OpKind::kGemmFp8Wgrad, l.name + " wgrad", shape, in, {}, l.weight);
  } else {
    gemm(l.name + " wgrad", GemmLayout::kTN, shape, in, {}, l.weight);
  }
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
                                         ParamId weight, TensorId residual_grad, int64_t column) {
  const Tensor t = graph_.tensors[x.v];
  const TensorId partial =
      tensor(name + " partial", Dtype::kFp32, 132, t.cols, BufferKind::kWorkspace);
  const TensorId dx = tensor(name + " dx", Dtype::kBf16, t.rows, t.cols);
  std::vector<TensorId> in = {dy, x};
  if (residual_grad.valid()) in.push_back(residual_grad);
  op(OpKind::kRmsNormBackward, name + " bwd", {.m = t.rows, .n = t.cols, .column = column},
     std::move(in), {dx, partial}, weight);
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
