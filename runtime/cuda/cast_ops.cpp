// Casts to and from block-scaled formats, and the transposes that GEMMs want.
#include "kernels/quant/cast.h"
#include "runtime/cuda/op_call.h"
#include "runtime/model/row_block.h"

namespace orrery {
namespace {

void cast_transpose(CudaOpCall& c) {
  const CudaTensor& x = *c.in[0];
  kernels::CastTransposeParams p;
  p.cols = x.cols;
  p.rows = c.out[0]->cols;
  if (c.in.size() > 1) {
    // Rows of the experts straight from the rows that arrived.
    p.gather = c.expert_layout(*c.in[1]).row_slot;
    p.gather_divisor = c.top_k();
  }
  // What is kept in FP8 for the weight gradient is dequantised on the way.
  const Tensor& info = c.graph.tensors[c.graph.inputs(c.op)[0].v];
  if (info.dtype == Dtype::kFp8Row)
    p.x8 = fp8_rows(x);
  else
    p.x = x.bf16();
  p.out = fp8_transposed(*c.out[0]);
  launch_check(kernels::cast_transpose(p, c.stream));
}

void transpose_weight(CudaOpCall& c) {
  const int64_t rows = c.param->rows / c.param->groups, cols = c.param->cols;
  const CudaTensor& t = *c.out[0];
  auto* scales = reinterpret_cast<float*>(t.data + scale_offset(t.rows * t.cols));
  launch_check(kernels::transpose_block({.batch = c.param->groups,
                                         .rows = rows,
                                         .cols = cols,
                                         .in = {c.weight.fp8, c.weight.scales, rows, cols},
                                         .out = {t.as<kernels::fp8>(), scales, cols, rows}},
                                        c.stream));
}

void transpose_scales(CudaOpCall& c) {
  const kernels::Fp8View x = fp8_rows(*c.in[0]);
  const int64_t tiles = kernels::tiles(x.cols), rows = c.out[0]->cols;
  // Of rows that travel a block.
  const int64_t block =
      rows == x.rows ? 0 : row_block(c.at.tensor, c.config.plan.tensor_parallel, c.shape().index);
  launch_check(kernels::transpose_scales({.rows = rows,
                                          .tiles = tiles,
                                          .in = x.scales + block * rows * tiles,
                                          .out = c.out[0]->f32(),
                                          .ld = rows},
                                         c.stream));
}

uint8_t* packed(const CudaTensor& t) { return t.as<uint8_t>(); }
float* packed_scales(const CudaTensor& t) {
  return reinterpret_cast<float*>(t.data + scale_offset(t.rows * kernels::e5m6_row_bytes(t.cols)));
}

}  // namespace

bool launch_cast_op(CudaOpCall& c) {
  const auto rows = [&] { return c.in[0]->rows; };
  const auto cols = [&] { return c.in[0]->cols; };
  switch (c.op.kind) {
    case OpKind::kCast:
      launch_check(
          kernels::cast_rows({rows(), cols(), c.in[0]->bf16(), fp8_rows(*c.out[0])}, c.stream));
      return true;
    case OpKind::kCastBack:
      launch_check(kernels::cast_back({fp8_rows(*c.in[0]), c.out[0]->bf16()}, c.stream));
      return true;
    case OpKind::kCastE5M6:
      launch_check(kernels::cast_e5m6(
          {rows(), cols(), c.in[0]->bf16(), packed(*c.out[0]), packed_scales(*c.out[0])},
          c.stream));
      return true;
    case OpKind::kCastBackE5M6:
      launch_check(kernels::cast_back_e5m6(
          {rows(), cols(), packed(*c.in[0]), packed_scales(*c.in[0]), c.out[0]->bf16()}, c.stream));
      return true;
    case OpKind::kCastTranspose:
      return cast_transpose(c), true;
    case OpKind::kTransposeFp8:
      return transpose_weight(c), true;
    case OpKind::kTransposeScales:
      return transpose_scales(c), true;
    default:
      return false;
  }
}

}  // namespace orrery
