// Linear layers of a stage: their weights as tensor parallelism splits them, their products, and
// the rows that the tensor-parallel group gathers and sums around them.
#include <algorithm>

#include "sim/graph/pipelined_rows.h"
#include "sim/graph/stage_builder.h"

namespace orrery {

namespace {

int64_t tiles(int64_t n) { return (n + 127) / 128; }

// Whether rows travel between the ranks of a tensor-parallel group as they were cast. With
// torchao's row-wise scales they travel in BF16, and every rank casts those of all (torchtitan,
// models/llama3/parallelize_llama.py: float8 all-gathers are for tensor-wise recipes only); nor
// does PyTorch then overlap the gather with products, whose operand is a cast away from it
// (pytorch/pytorch issue 149990).
bool travels_cast(Precision p) { return p != Precision::kFp8Rowwise; }

// Whether a kernel of its own multiplies input gradients by the scales of their rows and columns:
// torchao's backward products add up in FP32, for which the row-wise kernel is too slow, so that
// those with one scale run with 1 (pytorch/ao pull request 1325, float8_python_api.py). Left out:
// weight gradients, whose bytes do not grow with the tokens.
bool scales_after(Precision p) { return p == Precision::kFp8Rowwise; }

}  // namespace

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

std::vector<TensorId> StageBuilder::column_forward(const std::vector<Linear>& layers, TensorId x) {
  const std::string& name = layers[0].name;
  if (travels_cast(precision())) x = operand(name, x);
  if (config_.plan.pipelines_rows() && !again_selected() && travels_cast(precision())) {
    const std::vector<TensorId> out = pipelined_column_forward(*this, layers, x);
    for (TensorId y : out) keep_product(y);
    return out;
  }
  x = operand(name, gather_rows(name, x));
  std::vector<TensorId> out;
  for (const Linear& l : layers) out.push_back(linear_forward_operand(l, x));
  return out;
}

TensorId StageBuilder::linear_forward(const Linear& l, TensorId x, const char* role) {
  if (l.split == Split::kColumn && config_.plan.splits_rows()) return column_forward({l}, x)[0];
  return linear_forward_operand(l, operand(l.name, x), role);
}

StageBuilder::RowGrad StageBuilder::row_dgrad(const Linear& l, TensorId dy) {
  // Casts travel instead of what they were made from, unless a bias gradient needs the latter.
  if (config_.plan.splits_rows() && !fp8() && !l.bias.valid() && travels_cast(precision()))
    dy = operand(l.name + " grad", dy);
  // Where operands are cast the weight gradient reads another copy of dy than this does.
  if (config_.plan.pipelines_rows() && !fp8() && !casts()) return pipelined_row_dgrad(*this, l, dy);
  dy = gather_rows(l.name + " grad", dy);
  return {linear_dgrad(l, dy), dy};
}

bool StageBuilder::next_product_kept(const Linear& l) const {
  return again_selected() &&
         (product_ % 2 == 0 || (l.split == Split::kRow && tensor_parallel() > 1));
}

TensorId StageBuilder::last_kept_product(int unit) const {
  const std::vector<TensorId>& products = kept_[static_cast<std::size_t>(unit)].products;
  return products[(products.size() - 1) / 2 * 2];
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
    return scales_after(precision())
               ? map(OpKind::kScale, l.name + " dgrad scales", {dx}, Dtype::kBf16, rows, l.in)
               : dx;
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

}  // namespace orrery
