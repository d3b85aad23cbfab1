#include "sim/graph/stage_builder.h"

#include "sim/graph/work.h"

namespace orrery {

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
StageBuilder::StageBuilder(const GraphConfig& config, StageGraph graph)
    : config_(config), rows_(expert_rows(config)), graph_(std::move(graph)) {}

void StageBuilder::again(bool on) {
  again_ = on;
  if (!again_selected()) return;
  copies_.clear();  // casts of what was kept are made again
  gathered_.clear();
}

void StageBuilder::begin(SegmentKind segment, int unit, int layer) {
  if (segment == SegmentKind::kAttnF) product_ = 0;  // the start of a layer's forward
  if (kept_.size() <= static_cast<std::size_t>(unit))
    kept_.resize(static_cast<std::size_t>(unit) + 1);
  if (again_) segment = again_segment(segment);
  const auto at = static_cast<uint32_t>(graph_.ops.size());
  const bool same = !graph_.segments.empty() && graph_.segments.back().kind == segment &&
                    graph_.segments.back().unit == unit;
  if (!graph_.segments.empty()) graph_.segments.back().end_op = at;
  if (!same) graph_.segments.push_back({segment, static_cast<int16_t>(unit), at, at});
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
  p.tensor_summed = config_.plan.splits_rows();
  graph_.params.push_back(std::move(p));
  return {static_cast<uint32_t>(graph_.params.size() - 1)};
}

ParamId StageBuilder::sharded_param(std::string name, Dtype dtype, int64_t rows, int64_t cols,
                                    ParamShard shard) {
  const ParamId p = param(std::move(name), dtype, rows, cols);
  if (shard.ways == 1) return p;
  graph_.params[p.v].shard = shard;
  graph_.params[p.v].tensor_summed = false;
  return p;
}

ParamId StageBuilder::sharded_bias_param(std::string name, int64_t cols, int64_t first) {
  const ParamId p = sharded_param(std::move(name), Dtype::kBf16, 1, cols,
                                  {ShardAxis::kCols, tensor_parallel(), first});
  graph_.params[p.v].init = ParamInit::kZeros;
  return p;
}

ParamId StageBuilder::bias_param(std::string name, int64_t cols) {
  const ParamId p = param(std::move(name), Dtype::kBf16, 1, cols);
  graph_.params[p.v].init = ParamInit::kZeros;
  return p;
}

ParamId StageBuilder::expert_param(std::string name, int64_t rows, int64_t cols, ParamShard shard) {
  const ParamId p =
      sharded_param(std::move(name), weight_dtype(), rows_.local_experts * rows, cols, shard);
  graph_.params[p.v].tensor_summed = false;
  graph_.params[p.v].expert = true;
  graph_.params[p.v].groups = rows_.local_experts;
  return p;
}

ParamId StageBuilder::expert_bias_param(std::string name, int64_t cols) {
  const ParamId p = bias_param(std::move(name), cols);
  graph_.params[p.v].rows = rows_.local_experts;
  graph_.params[p.v].tensor_summed = false;
  graph_.params[p.v].expert = true;
  graph_.params[p.v].groups = rows_.local_experts;
  return p;
}

ParamId StageBuilder::buffer(std::string name, int64_t cols, bool saved) {
  const ParamId p = param(std::move(name), Dtype::kFp32, 1, cols);
  graph_.params[p.v].trained = false;
  graph_.params[p.v].tensor_summed = false;
  graph_.params[p.v].saved = saved;
  graph_.params[p.v].init = ParamInit::kZeros;
  return p;
}

Phase phase_of(SegmentKind s) {
  switch (s) {
    case SegmentKind::kAttnF:
    case SegmentKind::kDispatchF:
    case SegmentKind::kMlpF:
    case SegmentKind::kCombineF:
    case SegmentKind::kHeadF:
    case SegmentKind::kRecvF:
    case SegmentKind::kSendF:
    case SegmentKind::kGatherF:
    case SegmentKind::kUnshardF:
    case SegmentKind::kOffloadF:
      return Phase::kForward;
    case SegmentKind::kMlpW:
    case SegmentKind::kAttnW:
    case SegmentKind::kHeadW:
    case SegmentKind::kReduceB:
      return Phase::kWeight;
    case SegmentKind::kOptimizer:
      return Phase::kOptimizer;
    default:
      return Phase::kBackward;
  }
}

namespace {}  // namespace

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
  op.in_epilogue = in_epilogue_;
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

StageBuilder::Norm StageBuilder::rms_norm(const std::string& name, int64_t cols, int64_t heads) {
  Norm n{name, param(name + ".weight", Dtype::kBf16, 1, cols), {}, false, heads};
  graph_.params[n.weight.v].init = ParamInit::kOnes;
  return n;
}

StageBuilder::Norm StageBuilder::head_norm(const std::string& name, int64_t cols, int64_t heads) {
  const Norm n = rms_norm(name, cols, heads);
  graph_.params[n.weight.v].tensor_summed = tensor_parallel() > 1;
  return n;
}

StageBuilder::Norm StageBuilder::model_norm(const std::string& name, int64_t cols) {
  Norm n = rms_norm(name, cols);
  n.layer_norm = model().norm == NormKind::kLayerNorm;
  if (model().norm_bias) n.bias = bias_param(name + ".bias", cols);
  return n;
}

TensorId StageBuilder::norm(const Norm& n, TensorId x, const char* role) {
  const Tensor t = graph_.tensors[x.v];
  const TensorId out = map(n.layer_norm ? OpKind::kLayerNorm : OpKind::kRmsNorm, n.name + role, {x},
                           Dtype::kBf16, t.rows, t.cols, n.weight);
  last_op().bias = n.bias;
  last_op().shape.groups = n.heads;
  return out;
}

TensorId StageBuilder::norm_add(const Norm& n, TensorId& x, const Addends& add) {
  if (add.empty()) return norm(n, x);
  const Tensor t = graph_.tensors[x.v];
  const TensorId sum = tensor(n.name + " residual", Dtype::kBf16, t.rows, t.cols);
  const TensorId out = tensor(n.name, Dtype::kBf16, t.rows, t.cols);
  std::vector<TensorId> in = {x};
  in.insert(in.end(), add.begin(), add.end());
  op(n.layer_norm ? OpKind::kLayerNorm : OpKind::kRmsNorm, n.name, {.m = t.rows, .n = t.cols},
     std::move(in), {sum, out}, n.weight);
  last_op().bias = n.bias;
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

TensorId StageBuilder::norm_backward(const Norm& n, TensorId dy, TensorId x, TensorId residual_grad,
                                     int64_t column) {
  const Tensor t = graph_.tensors[x.v];
  // Of the weight, and beside them of the bias.
  const int64_t sums = t.cols / n.heads * (n.bias.valid() ? 2 : 1);
  const TensorId partial =
      tensor(n.name + " partial", Dtype::kFp32, 132, sums, BufferKind::kWorkspace);
  const TensorId dx = tensor(n.name + " dx", Dtype::kBf16, t.rows, t.cols);
  std::vector<TensorId> in = {dy, x};
  if (residual_grad.valid()) in.push_back(residual_grad);
  op(n.layer_norm ? OpKind::kLayerNormBackward : OpKind::kRmsNormBackward, n.name + " bwd",
     {.m = t.rows, .n = t.cols, .groups = n.heads, .column = column}, std::move(in), {dx, partial},
     n.weight);
  last_op().bias = n.bias;
  op(n.layer_norm ? OpKind::kLayerNormReduce : OpKind::kRmsNormReduce, n.name + " bwd reduce",
     {.m = 132, .n = sums}, {partial}, {}, n.weight);
  last_op().bias = n.bias;
  return dx;
}

Addends StageBuilder::dropout(const std::string& name, Dropout which, const Addends& add,
                              TensorId& mask) {
  if (model().dropout == 0 || add.empty()) return add;
  const TensorId x = this->add(name + " sum", add[0], Addends(add.begin() + 1, add.end()));
  const Tensor t = graph_.tensors[x.v];
  const TensorId y = tensor(name, Dtype::kBf16, t.rows, t.cols);
  mask = tensor(name + " mask", Dtype::kUint8, t.rows, t.cols);
  op(OpKind::kDropout, name, {.m = t.rows, .n = t.cols, .index = static_cast<int64_t>(which)}, {x},
     {y, mask});
  return {y};
}

TensorId StageBuilder::dropout_backward(const std::string& name, TensorId dy, TensorId mask) {
  if (!mask.valid()) return dy;
  const Tensor t = graph_.tensors[dy.v];
  return map(OpKind::kDropoutBackward, name, {dy, mask}, Dtype::kBf16, t.rows, t.cols);
}

StageGraph StageBuilder::finish() {
  if (!graph_.segments.empty())
    graph_.segments.back().end_op = static_cast<uint32_t>(graph_.ops.size());
  graph_.index_readers();
  return std::move(graph_);
}

}  // namespace orrery
