#include "sim/graph/stage_builder.h"

#include <algorithm>
#include <cmath>

#include "sim/graph/pipelined_rows.h"
#include "sim/graph/work.h"

namespace orrery {

namespace {

int64_t tiles(int64_t n) { return (n + 127) / 128; }

}  // namespace

ExpertRows expert_rows(const GraphConfig& c) {
  ExpertRows r;
  if (c.model.experts == 0) return r;
  const ModelSpec& m = c.model;
  const int64_t tokens = c.plan.rows_per_rank();
  const int64_t ranks = c.plan.expert_parallel;
  const int64_t gathered = c.plan.expert_tensor_parallel;
  r.local_experts = m.experts / ranks;
  r.expanded = tokens * m.experts_per_token + r.local_experts * 64;
  if (m.router.capacity_factor > 0) {
    const double share = m.router.capacity_factor * static_cast<double>(tokens) *
                         static_cast<double>(m.experts_per_token) / static_cast<double>(m.experts);
    const int64_t most = r.local_experts * ranks * static_cast<int64_t>(std::ceil(share));
    r.expanded = m.router.pad_to_capacity ? most : std::min(r.expanded, most);
  }
  r.expanded += (gathered - 1) * (r.expanded - r.local_experts * 64);
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
  r.gathered = r.arrived * gathered;
  const int64_t nodes = (c.plan.expert_ranks() + c.gpus_per_node - 1) / c.gpus_per_node;
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
    case SegmentKind::kGatherF:
    case SegmentKind::kUnshardF:
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

StageBuilder::Linear StageBuilder::linear(const std::string& name, int64_t in, int64_t out,
                                          bool bias) {
  Linear l{name, param(name + ".weight", weight_dtype(), out, in), in, out, {}};
  if (bias) l.bias = bias_param(name + ".bias", out);
  return l;
}

StageBuilder::Linear StageBuilder::column_linear(const std::string& name, int64_t in, int64_t out,
                                                 bool bias, int64_t first) {
  const int64_t t = tensor_parallel();
  const ParamId weight = sharded_param(name + ".weight", weight_dtype(), out / t, in,
                                       {ShardAxis::kRows, t, first / t});
  Linear l{name, weight, in, out / t, {}, Split::kColumn};
  if (bias) l.bias = sharded_bias_param(name + ".bias", out / t, first / t);
  return l;
}

StageBuilder::Linear StageBuilder::row_linear(const std::string& name, int64_t in, int64_t out,
                                              bool bias) {
  const int64_t t = tensor_parallel();
  const ParamId weight =
      sharded_param(name + ".weight", weight_dtype(), out, in / t, {ShardAxis::kCols, t});
  Linear l{name, weight, in / t, out, {}, Split::kRow};
  if (!bias) return l;
  l.bias = bias_param(name + ".bias", out);
  graph_.params[l.bias.v].tensor_summed = false;  // every rank has the gradient of all rows
  return l;
}

// From x, whole on each rank, to `rows` rows.
TensorId StageBuilder::collective(OpKind kind, const std::string& name, TensorId x, int64_t rows) {
  const Tensor t = graph_.tensors[x.v];
  const StreamKind before = stream_;
  stream_ = StreamKind::kTensor;
  const TensorId out = tensor(name, t.dtype, rows, t.cols);
  const int64_t row_bytes = tensor_bytes(t.dtype, 1, t.cols).count();
  op(kind, name, {.m = std::max(rows, t.rows), .n = row_bytes}, {x}, {out}).comm =
      CommKind::kTensor;
  stream_ = before;
  return out;
}

TensorId StageBuilder::tensor_all_gather(const std::string& name, TensorId x) {
  const int64_t rows = graph_.tensors[x.v].rows * tensor_parallel();
  return collective(OpKind::kAllGather, name + " all-gather", x, rows);
}

TensorId StageBuilder::gather_rows(const std::string& name, TensorId x) {
  if (!config_.plan.splits_rows()) return x;
  // In the backward, inputs of the forward's products travel as they were cast.
  if (phase_of(segment_) == Phase::kBackward)
    for (const Copies& c : copies_)
      if (c.of == x && c.rows.valid()) {
        x = c.rows;
        break;
      }
  for (const auto& [of, whole] : gathered_)
    if (of == x) return whole;
  const TensorId whole = tensor_all_gather(name, x);
  if (again_selected()) gathered_.emplace_back(x, whole);
  return whole;
}

TensorId StageBuilder::reduce_partial(const std::string& name, TensorId x) {
  if (tensor_parallel() == 1) return x;
  const int64_t rows = graph_.tensors[x.v].rows;
  return config_.plan.splits_rows() ? collective(OpKind::kReduceScatter, name + " reduce-scatter",
                                                 x, rows / tensor_parallel())
                                    : collective(OpKind::kAllReduce, name + " all-reduce", x, rows);
}

std::vector<TensorId> StageBuilder::column_forward(const std::vector<Linear>& layers,
                                                   TensorId operand) {
  if (config_.plan.pipelines_rows() && !again_selected()) {
    const std::vector<TensorId> out = pipelined_column_forward(*this, layers, operand);
    for (TensorId y : out) keep_product(y);
    return out;
  }
  const TensorId x = gather_rows(layers[0].name, operand);
  std::vector<TensorId> out;
  for (const Linear& l : layers) out.push_back(linear_forward_operand(l, x));
  return out;
}

TensorId StageBuilder::linear_forward(const Linear& l, TensorId x, const char* role) {
  const TensorId in = operand(l.name, x);
  if (l.split == Split::kColumn && config_.plan.splits_rows()) return column_forward({l}, in)[0];
  return linear_forward_operand(l, in, role);
}

StageBuilder::RowGrad StageBuilder::row_dgrad(const Linear& l, TensorId dy) {
  // Casts travel instead of what they were made from, unless a bias gradient needs the latter.
  if (config_.plan.splits_rows() && !fp8() && !l.bias.valid()) dy = operand(l.name + " grad", dy);
  // Where operands are cast the weight gradient reads another copy of dy than this does.
  if (config_.plan.pipelines_rows() && !fp8() && !casts()) return pipelined_row_dgrad(*this, l, dy);
  dy = gather_rows(l.name + " grad", dy);
  return {linear_dgrad(l, dy), dy};
}

bool StageBuilder::next_product_kept(const Linear& l) const {
  return again_selected() &&
         (product_ % 2 == 0 || (l.split == Split::kRow && tensor_parallel() > 1));
}

TensorId StageBuilder::keep_product(TensorId y) {
  if (!again_) kept_[static_cast<std::size_t>(unit_)].products.push_back(y);
  ++product_;
  return y;
}

TensorId StageBuilder::linear_forward_operand(const Linear& l, TensorId x, const char* role) {
  if (next_product_kept(l))
    return keep_product(kept_[static_cast<std::size_t>(unit_)].products[product_]);
  return keep_product(product_forward(l, x, role));
}

TensorId StageBuilder::product_forward(const Linear& l, TensorId x, const char* role) {
  if (l.split == Split::kRow && config_.plan.pipelines_rows())
    return pipelined_row_forward(*this, l, x);
  const int64_t rows = graph_.tensors[x.v].rows;
  const OpShape shape{.m = rows, .n = l.out, .k = l.in};
  const std::string name = l.name + " " + role;
  if (!fp8()) {
    const TensorId y = tensor(l.name + " out", Dtype::kBf16, rows, l.out);
    product(name, GemmLayout::kNT, shape, {x}, {y}, l.weight);
    last_op().bias = l.bias;
    return l.split == Split::kRow ? reduce_partial(l.name, y) : y;
  }
  const TensorId scales =
      map(OpKind::kTransposeScales, l.name + " scales", {x}, Dtype::kFp32, tiles(l.in), rows);
  const TensorId y = tensor(l.name + " out", Dtype::kBf16, rows, l.out);
  op(OpKind::kGemmFp8, name, shape, {x, scales}, {y}, l.weight);
  last_op().bias = l.bias;
  return l.split == Split::kRow ? reduce_partial(l.name, y) : y;
}

TensorId StageBuilder::linear_dgrad(const Linear& l, TensorId dy) {
  const int64_t rows = graph_.tensors[dy.v].rows;
  if (l.bias.valid())
    op(OpKind::kBiasBackward, l.name + " bias grad", {.m = rows, .n = l.out}, {dy}, {}, l.bias);
  const OpShape shape{.m = rows, .n = l.in, .k = l.out};
  if (!fp8()) {
    const TensorId dy_operand = operand(l.name + " grad", dy);
    const TensorId dx = tensor(l.name + " dgrad out", Dtype::kBf16, rows, l.in);
    product(l.name + " dgrad", GemmLayout::kNN, shape, {dy_operand}, {dx}, l.weight);
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

std::pair<TensorId, TensorId> StageBuilder::prepare_wgrad(const Linear& l, TensorId x,
                                                          TensorId dy) {
  const TensorId xt = transposed_operand(l.name + " input^T", x, l.in);
  return {xt, transposed_operand(l.name + " grad^T", dy, l.out)};
}

void StageBuilder::linear_wgrad(const Linear& l, std::pair<TensorId, TensorId> operands) {
  const Tensor& x = graph_.tensors[operands.first.v];
  const bool cast = fp8() || casts();
  const OpShape shape{.m = l.out, .n = l.in, .k = cast ? x.cols : x.rows};
  const std::vector<TensorId> in = {operands.first, operands.second};
  if (cast) {
    op(OpKind::kGemmFp8Wgrad, l.name + " wgrad", shape, in, {}, l.weight);
  } else {
    gemm(l.name + " wgrad", GemmLayout::kTN, shape, in, {}, l.weight);
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
