#include "sim/graph/pipelined_rows.h"

namespace orrery {
namespace {

using Linear = StageBuilder::Linear;

const Tensor& info(StageBuilder& b, TensorId t) { return b.graph().tensors[t.v]; }

int64_t row_bytes(StageBuilder& b, TensorId t) {
  return tensor_bytes(info(b, t).dtype, 1, info(b, t).cols).count();
}

// One block of rows from or to a whole tensor.
void block_product(StageBuilder& b, const Linear& l, bool backward, TensorId x, TensorId y,
                   int64_t rows, int64_t index) {
  const std::string name = l.name + (backward ? " dgrad" : " fwd");
  const OpShape shape{
      .m = rows, .n = backward ? l.in : l.out, .k = backward ? l.out : l.in, .index = index};
  if (b.fp8()) {
    const TensorId scales = b.map(OpKind::kTransposeScales, l.name + " scales", {x}, Dtype::kFp32,
                                  (l.in + 127) / 128, rows);
    b.last_op().shape.index = index + (info(b, y).rows == rows ? 1 : 0);  // whose rows
    b.op(OpKind::kGemmFp8, name, shape, {x, scales}, {y}, l.weight);
  } else {
    b.product(name, backward ? GemmLayout::kNN : GemmLayout::kNT, shape, {x}, {y}, l.weight);
  }
  if (!backward) b.last_op().bias = l.bias;
  const Param& w = b.graph().params[l.weight.v];
  b.last_op().work.hbm =
      Bytes(rows * (row_bytes(b, x) + row_bytes(b, y))) + tensor_bytes(w.dtype, w.rows, w.cols);
}

// `shape`: which rows, or to whom.
void exchange(StageBuilder& b, const std::string& name, int64_t rows, TensorId from, TensorId to,
              OpShape shape) {
  b.stream(StreamKind::kTensor);
  shape.m = rows, shape.n = row_bytes(b, from);
  b.op(OpKind::kRingExchange, name, shape, {from}, {to}).comm = CommKind::kTensor;
  b.stream(StreamKind::kCompute);
}

// Calls product(x, step) with each block, from x itself or from `whole`, which gets all of them.
template <class Product>
void gather_pipelined(StageBuilder& b, const std::string& name, TensorId x, TensorId whole,
                      Product product) {
  const int64_t steps = b.tensor_parallel(), rows = info(b, x).rows;
  for (int64_t step = 1; step <= steps; ++step) {
    product(step == 1 ? x : whole, step);
    if (step < steps)
      exchange(b, name + " rows of the rank before", rows, step == 1 ? x : whole, whole,
               {.index = step});
  }
}

TensorId whole_of(StageBuilder& b, const std::string& name, TensorId x) {
  const Tensor t = info(b, x);
  return b.tensor(name + " all rows", t.dtype, t.rows * b.tensor_parallel(), t.cols);
}

}  // namespace

std::vector<TensorId> pipelined_column_forward(StageBuilder& b, const std::vector<Linear>& layers,
                                               TensorId operand) {
  const int64_t rows = info(b, operand).rows;
  std::vector<TensorId> out;
  for (const Linear& l : layers)
    out.push_back(b.tensor(l.name + " out", Dtype::kBf16, rows * b.tensor_parallel(), l.out));
  const TensorId whole = whole_of(b, layers[0].name, operand);
  gather_pipelined(b, layers[0].name, operand, whole, [&](TensorId x, int64_t step) {
    for (std::size_t i = 0; i < layers.size(); ++i)
      block_product(b, layers[i], false, x, out[i], rows, step);
  });
  return out;
}

TensorId pipelined_row_forward(StageBuilder& b, const Linear& l, TensorId operand) {
  const int64_t steps = b.tensor_parallel(), rows = info(b, operand).rows / steps;
  Addends received;
  for (int64_t step = 1;; ++step) {
    const TensorId part = b.tensor(l.name + " out", Dtype::kBf16, rows, l.out);
    block_product(b, l, false, operand, part, rows, step);
    if (step == steps) return b.add(l.name + " add parts", part, received);
    received.push_back(b.tensor(l.name + " part", Dtype::kBf16, rows, l.out));
    exchange(b, l.name + " parts to their ranks", rows, part, received.back(), {.column = step});
  }
}

StageBuilder::RowGrad pipelined_row_dgrad(StageBuilder& b, const Linear& l, TensorId dy) {
  const int64_t rows = info(b, dy).rows;
  const TensorId dx =
      b.tensor(l.name + " dgrad out", Dtype::kBf16, rows * b.tensor_parallel(), l.in);
  const TensorId whole = whole_of(b, l.name + " grad", dy);
  gather_pipelined(b, l.name + " grad", dy, whole,
                   [&](TensorId x, int64_t step) { block_product(b, l, true, x, dx, rows, step); });
  if (l.bias.valid())
    b.op(OpKind::kBiasBackward, l.name + " bias grad", {.m = info(b, whole).rows, .n = l.out},
         {whole}, {}, l.bias);
  return {dx, whole};
}

}  // namespace orrery
