// What a precision recipe (sim/spec/precision.h) adds around the matrix products: casts of their
// operands and of those of the weight gradients.
#include "sim/graph/stage_builder.h"

namespace orrery {

Precision StageBuilder::precision() const {
  const PlanSpec& p = config_.plan;
  const int64_t layers = config_.model.layers;
  const bool in_bf16 = layer_ >= 0 && layer_ < layers &&
                       (layer_ < p.bf16_layers_at_start || layer_ >= layers - p.bf16_layers_at_end);
  return in_bf16 ? Precision::kBf16 : p.precision;
}

void StageBuilder::product(std::string name, GemmLayout layout, OpShape shape,
                           std::vector<TensorId> inputs, std::vector<TensorId> outputs,
                           ParamId weight) {
  if (!casts())
    return gemm(std::move(name), layout, shape, std::move(inputs), std::move(outputs), weight);
  op(OpKind::kGemmFp8, std::move(name), shape, std::move(inputs), std::move(outputs), weight)
      .layout = layout;
}

void StageBuilder::amax(const std::string& name, TensorId x) {
  if (!needs_amax(precision())) return;
  const Tensor t = graph_.tensors[x.v];
  const TensorId largest = tensor(name + " amax", Dtype::kFp32, 1, 1, BufferKind::kWorkspace);
  op(OpKind::kAmax, name + " amax", {.m = t.rows, .n = t.cols}, {x}, {largest});
}

StageBuilder::Copies StageBuilder::cast_both(const std::string& name, TensorId x) {
  for (const Copies& c : copies_)
    if (c.of == x && c.rows.valid()) return c;
  amax(name, x);
  const Tensor t = graph_.tensors[x.v];
  const Copies c{x, tensor(name + " cast", operand_dtype(), t.rows, t.cols),
                 tensor(name + " cast^T", operand_dtype(), t.cols, t.rows)};
  graph_.tensors[c.rows.v].dynamic_rows = t.dynamic_rows;
  graph_.tensors[c.columns.v].dynamic_cols = t.dynamic_rows;
  op(OpKind::kCastBoth, name + " cast", {.m = t.rows, .n = t.cols}, {x}, {c.rows, c.columns});
  copies_.push_back(c);
  return c;
}

TensorId StageBuilder::operand(const std::string& name, TensorId x) {
  const Tensor t = graph_.tensors[x.v];
  if (operand_dtype() == Dtype::kBf16 || t.dtype != Dtype::kBf16) return x;
  if (casts_both_ways(precision())) return cast_both(name, x).rows;
  const TensorId out = map(OpKind::kCast, name + " cast", {x}, operand_dtype(), t.rows, t.cols);
  graph_.tensors[out.v].dynamic_rows = t.dynamic_rows;
  return out;
}

TensorId StageBuilder::transposed_operand(const std::string& name, TensorId x, int64_t cols) {
  if (operand_dtype() == Dtype::kBf16) return x;
  const Tensor t = graph_.tensors[x.v];
  for (const Copies& c : copies_)
    if (c.of == x) return c.columns;
  if (t.dtype == Dtype::kBf16) amax(name, x);
  // A scale for each column: its kernel has seen the last row before the cast begins. (A row's
  // largest magnitude is found by the kernel that casts the row.)
  if (precision() == Precision::kFp8Rowwise)
    op(OpKind::kAmax, name + " amax", {.m = t.rows, .n = t.cols}, {x},
       {tensor(name + " amax", Dtype::kFp32, 1, t.cols, BufferKind::kWorkspace)});
  const TensorId out = map(OpKind::kCastTranspose, name, {x}, operand_dtype(), cols, t.rows);
  graph_.tensors[out.v].dynamic_cols = t.dynamic_rows;
  if (casts()) copies_.push_back({x, {}, out});
  return out;
}

}  // namespace orrery
