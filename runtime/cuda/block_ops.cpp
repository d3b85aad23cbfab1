// What only some families of models have: LayerNorm, ungated activations, biases, learned
// positions.
#include "kernels/activation/pointwise.h"
#include "kernels/elementwise/bias.h"
#include "kernels/norm/layer_norm.h"
#include "runtime/cuda/op_call.h"

namespace orrery {
namespace {

void layer_norm(CudaOpCall& c) {
  const bool adds = c.in.size() > 1;
  kernels::LayerNormParams p;
  p.rows = c.in[0]->rows, p.cols = c.in[0]->cols;
  p.x = c.in[0]->bf16();
  for (std::size_t i = 1; i < c.in.size(); ++i) p.addend[i - 1] = c.in[i]->bf16();
  p.weight = c.weight.bf16;
  p.bias = c.bias.bf16;
  p.eps = static_cast<float>(c.config.model.norm_eps);
  p.sum = adds ? c.out[0]->bf16() : nullptr;
  p.out = c.out.back()->bf16();
  launch_check(kernels::layer_norm(p, c.stream));
}

void layer_norm_backward(CudaOpCall& c) {
  kernels::LayerNormBackwardParams p;
  p.rows = c.in[1]->rows, p.cols = c.in[1]->cols;
  p.dy = c.in[0]->bf16() + c.shape().column;
  p.ld_dy = c.in[0]->cols;
  p.x = c.in[1]->bf16();
  p.weight = c.weight.bf16;
  p.residual_grad = c.in.size() > 2 ? c.in[2]->bf16() : nullptr;
  p.eps = static_cast<float>(c.config.model.norm_eps);
  p.bias = c.bias_grad != nullptr;
  p.dx = c.out[0]->bf16();
  p.partial = c.out[1]->f32();
  launch_check(kernels::layer_norm_backward(p, c.stream));
}

void layer_norm_reduce(CudaOpCall& c) {
  const int64_t sums = c.in[0]->cols;
  launch_check(kernels::layer_norm_reduce(
      {c.bias_grad != nullptr ? sums / 2 : sums, c.in[0]->f32(), c.grad, c.bias_grad}, c.stream));
}

kernels::Pointwise activation_of(const CudaOpCall& c) {
  switch (c.config.model.activation) {
    case Activation::kGelu:
      return kernels::Pointwise::kGelu;
    case Activation::kGeluTanh:
      return kernels::Pointwise::kGeluTanh;
    default:
      return kernels::Pointwise::kSquaredRelu;
  }
}

void activation(CudaOpCall& c) {
  launch_check(kernels::pointwise(
      {activation_of(c), c.in[0]->rows, c.in[0]->cols, c.in[0]->bf16(), c.out[0]->bf16()},
      c.stream));
}

void activation_backward(CudaOpCall& c) {
  const bool weighted = c.in.size() > 2;
  kernels::PointwiseBackwardParams p;
  p.f = activation_of(c);
  p.rows = c.in[0]->rows, p.w = c.in[0]->cols;
  p.x = c.in[0]->bf16();
  p.dact = c.in[1]->bf16();
  p.row_weight = weighted ? c.expert_layout(*c.in[2]).row_weight : nullptr;
  p.act_out = weighted ? c.out[1]->bf16() : nullptr;
  p.dx = c.out[0]->bf16();
  launch_check(kernels::pointwise_backward(p, c.stream));
}

// Rows whose tokens follow one another, and so do their positions, at a time.
void positions(CudaOpCall& c) {
  const OpShape& s = c.shape();
  const int64_t rows = c.in[0]->rows;
  const auto token = [&](int64_t row) { return token_of_row(c.config.plan, c.at, row); };
  for (int64_t row = 0, end = 0; row < rows; row = end) {
    end = row + 1;
    while (end < rows && token(end) == token(end - 1) + 1) ++end;
    kernels::bf16* x = c.in[0]->bf16() + row * s.n;
    if (c.op.kind == OpKind::kAddPositions)
      launch_check(
          kernels::add_rows({end - row, s.n, s.k, c.weight.bf16, x, token(row)}, c.stream));
    else
      launch_check(
          kernels::add_rows_backward({end - row, s.n, s.k, x, c.grad, token(row)}, c.stream));
  }
}

}  // namespace

bool launch_block_op(CudaOpCall& c) {
  const OpShape& s = c.shape();
  switch (c.op.kind) {
    case OpKind::kLayerNorm:
      return layer_norm(c), true;
    case OpKind::kLayerNormBackward:
      return layer_norm_backward(c), true;
    case OpKind::kLayerNormReduce:
      return layer_norm_reduce(c), true;
    case OpKind::kActivation:
      return activation(c), true;
    case OpKind::kActivationBackward:
      return activation_backward(c), true;
    case OpKind::kBiasBackward:
      launch_check(
          kernels::add_rows_backward({c.in[0]->rows, s.n, 1, c.in[0]->bf16(), c.grad}, c.stream));
      return true;
    case OpKind::kAddPositions:
    case OpKind::kPositionsBackward:
      return positions(c), true;
    default:
      return false;
  }
}

}  // namespace orrery
