// Norms, RoPE, copies, SwiGLU, embedding and loss.
#include "kernels/activation/swiglu.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/embedding/local_ids.h"
#include "kernels/loss/cross_entropy.h"
#include "kernels/loss/cross_entropy_parts.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "runtime/cuda/op_call.h"

namespace orrery {
namespace {

void rms_norm(CudaOpCall& c) {
  const bool adds = c.in.size() > 1;
  kernels::RmsNormParams p;
  const int64_t heads = c.shape().groups;  // each normed on its own
  p.rows = c.in[0]->rows * heads, p.cols = c.in[0]->cols / heads;
  p.x = c.in[0]->bf16();
  for (std::size_t i = 1; i < c.in.size(); ++i) p.addend[i - 1] = c.in[i]->bf16();
  p.weight = c.weight.bf16;
  p.eps = static_cast<float>(c.config.model.norm_eps);
  p.sum = adds ? c.out[0]->bf16() : nullptr;
  p.out = c.out.back()->bf16();
  launch_check(kernels::rms_norm(p, c.stream));
}

void rms_norm_backward(CudaOpCall& c) {
  kernels::RmsNormBackwardParams p;
  const int64_t heads = c.shape().groups;
  p.rows = c.in[1]->rows * heads, p.cols = c.in[1]->cols / heads;
  p.dy = c.in[0]->bf16() + c.shape().column;
  p.ld_dy = c.in[0]->cols / heads;
  p.x = c.in[1]->bf16();
  p.weight = c.weight.bf16;
  p.residual_grad = c.in.size() > 2 ? c.in[2]->bf16() : nullptr;
  p.eps = static_cast<float>(c.config.model.norm_eps);
  p.dx = c.out[0]->bf16();
  p.partial = c.out[1]->f32();
  launch_check(kernels::rms_norm_backward(p, c.stream));
}

// Of a joint key-value tensor only the keys, which come first, are rotated; their heads are the
// first of a row that holds whole heads of the same width.
void rope(CudaOpCall& c, bool inverse) {
  const OpShape& s = c.shape();
  kernels::RopeParams p;
  p.rows = c.in[0]->rows;
  p.heads = s.groups;
  const bool wide = s.k > 0;
  p.width = wide ? s.k : c.in[0]->cols / s.groups;
  p.row_stride = c.in[0]->cols;
  p.column = s.column;
  p.n = s.n;
  p.seq_len = c.config.plan.sequence_length / c.config.plan.context_parallel;
  p.table = c.rope_table;
  p.style = c.numerics.rope_style;
  p.inverse = inverse;
  p.x = c.in[0]->bf16();
  launch_check(kernels::rope(p, c.stream));
}

void copy(CudaOpCall& c) {
  const OpShape& s = c.shape();
  launch_check(kernels::copy_slice({.rows = c.in[0]->rows,
                                    .heads = s.groups,
                                    .in_width = c.in[0]->cols / s.groups,
                                    .column = s.column,
                                    .width = s.n / s.groups,
                                    .x = c.in[0]->bf16(),
                                    .out = c.out[0]->bf16()},
                                   c.stream));
}

void concat_heads(CudaOpCall& c) {
  const OpShape& s = c.shape();
  const int64_t b_width = s.n / s.groups - s.first;
  const bool broadcast = s.groups > 1 && c.in[1]->cols == b_width;
  launch_check(kernels::concat_heads({.rows = c.in[0]->rows,
                                      .heads = s.groups,
                                      .a = c.in[0]->bf16(),
                                      .a_width = s.first,
                                      .b = c.in[1]->bf16(),
                                      .b_width = b_width,
                                      .a_from = c.in[0]->cols / s.groups,
                                      .b_from = broadcast ? b_width : c.in[1]->cols / s.groups,
                                      .broadcast_b = broadcast,
                                      .out = c.out[0]->bf16()},
                                     c.stream));
}

void reduce_heads(CudaOpCall& c) {
  const OpShape& s = c.shape();
  launch_check(kernels::reduce_heads({.rows = c.in[0]->rows,
                                      .heads = s.groups,
                                      .in_width = c.in[0]->cols / s.groups,
                                      .column = s.column,
                                      .width = s.n,
                                      .x = c.in[0]->bf16(),
                                      .out = c.out[0]->bf16()},
                                     c.stream));
}

void add(CudaOpCall& c) {
  kernels::AddParams p;
  p.n = c.in[0]->rows * c.in[0]->cols;
  p.out = c.out[0]->bf16();
  constexpr int kMost = static_cast<int>(std::size(kernels::AddParams{}.inputs));
  const auto launch = [&] {
    launch_check(kernels::add(p, c.stream));
    p.inputs[0] = p.out, p.count = 1;  // more are added to what is there
  };
  for (const CudaTensor* x : c.in) {
    if (p.count == kMost) launch();
    p.inputs[p.count++] = x->bf16();
  }
  launch();
}

void swiglu(CudaOpCall& c) {
  const int64_t rows = c.in[0]->rows, w = c.in[0]->cols / 2;
  const kernels::bf16* x = c.in[0]->bf16();
  switch (c.op.kind) {
    case OpKind::kSwiGlu:
      return launch_check(kernels::swiglu({rows, w, x, c.out[0]->bf16()}, c.stream));
    case OpKind::kSwiGluCast:
      return launch_check(kernels::swiglu_cast({rows, w, x, fp8_rows(*c.out[0])}, c.stream));
    default:
      return launch_check(
          kernels::swiglu_cast_transpose({rows, w, x, fp8_transposed(*c.out[0])}, c.stream));
  }
}

void swiglu_backward(CudaOpCall& c) {
  kernels::SwiGluBackwardParams p;
  p.rows = c.in[0]->rows, p.w = c.in[0]->cols / 2;
  p.gate_up = c.in[0]->bf16();
  p.dact = c.in[1]->bf16();
  if (c.in.size() > 2) {
    p.row_weight = c.expert_layout(*c.in[2]).row_weight;
    p.act_out = c.out[1]->bf16();
  }
  p.dgate_up = c.out[0]->bf16();
  launch_check(kernels::swiglu_backward(p, c.stream));
}

void swiglu_weight_backward(CudaOpCall& c) {
  const kernels::ExpertLayout layout = c.expert_layout(*c.in[2]);
  // Choices of experts on other ranks have no row; their gradient is theirs to compute.
  cuda_check(
      cudaMemsetAsync(c.out[0]->data, 0,
                      static_cast<std::size_t>(4 * c.out[0]->rows * c.out[0]->cols), c.stream),
      "clearing routing weight gradients");
  launch_check(kernels::swiglu_weight_backward({.rows = c.in[0]->rows,
                                                .w = c.in[0]->cols,
                                                .act = c.in[0]->bf16(),
                                                .dact = c.in[1]->bf16(),
                                                .row_weight = layout.row_weight,
                                                .row_slot = layout.row_slot,
                                                .out = c.out[0]->f32()},
                                               c.stream));
}

void cross_entropy(CudaOpCall& c) {
  const double scale = loss_scale(c.config, c.numerics, static_cast<int>(c.shape().index));
  launch_check(kernels::cross_entropy({.rows = c.in[0]->rows,
                                       .vocab = c.in[0]->cols,
                                       .logits = c.in[0]->bf16(),
                                       .labels = c.in[1]->i32(),
                                       .scale = static_cast<float>(scale),
                                       .row_loss = c.out[0]->f32(),
                                       .loss_sum = c.weight.f32},
                                      c.stream));
}

void cross_entropy_part(CudaOpCall& c) {
  launch_check(kernels::cross_entropy_part({.rows = c.in[0]->rows,
                                            .vocab = c.in[0]->cols,
                                            .logits = c.in[0]->bf16(),
                                            .labels = c.in[1]->i32(),
                                            .parts = c.out[0]->f32()},
                                           c.stream));
}

void cross_entropy_merge(CudaOpCall& c) {
  const double scale = loss_scale(c.config, c.numerics, static_cast<int>(c.shape().index));
  // The whole group has the loss; one rank counts it.
  launch_check(kernels::cross_entropy_merge({.rows = c.in[0]->rows,
                                             .vocab = c.in[0]->cols,
                                             .ranks = c.in[2]->rows / c.in[0]->rows,
                                             .logits = c.in[0]->bf16(),
                                             .labels = c.in[1]->i32(),
                                             .parts = c.in[2]->f32(),
                                             .scale = static_cast<float>(scale),
                                             .row_loss = c.out[0]->f32(),
                                             .loss_sum = c.at.tensor == 0 ? c.weight.f32 : nullptr},
                                            c.stream));
}

void embedding(CudaOpCall& c) {
  launch_check(kernels::embedding_forward({.rows = c.in[0]->rows,
                                           .cols = c.param->cols,
                                           .vocab = c.param->rows,
                                           .ids = c.in[0]->i32(),
                                           .table = c.weight.bf16,
                                           .out = c.out[0]->bf16()},
                                          c.stream));
}

void embedding_backward(CudaOpCall& c) {
  launch_check(kernels::embedding_backward({.rows = c.in[0]->rows,
                                            .cols = c.param->cols,
                                            .vocab = c.param->rows,
                                            .ids = c.in[1]->i32(),
                                            .dx = c.in[0]->bf16(),
                                            .grad = c.grad},
                                           c.stream));
}

// The rank's positions of every sequence; where it has a part of the vocabulary, as ids there.
void load_tokens(CudaOpCall& c) {
  const PlanSpec& p = c.config.plan;
  const int64_t vocab = c.shape().first, stride = tokens_per_sequence(c.config);
  const int64_t length = p.sequence_length / p.context_parallel;
  for (const PositionRun& run : position_runs(p, c.at.context)) {
    const int32_t* from = c.tokens_of_batch + c.shape().column + run.position;
    int32_t* to = c.out[0]->i32() + run.first;
    if (vocab > 0) {
      launch_check(kernels::local_ids({.sequences = p.micro_batch,
                                       .length = run.count,
                                       .stride = stride,
                                       .out_stride = length,
                                       .first = c.at.tensor * vocab,
                                       .vocab = vocab,
                                       .ids = from,
                                       .out = to},
                                      c.stream));
      continue;
    }
    cuda_check(cudaMemcpy2DAsync(
                   to, static_cast<std::size_t>(4 * length), from,
                   static_cast<std::size_t>(4 * stride), static_cast<std::size_t>(4 * run.count),
                   static_cast<std::size_t>(p.micro_batch), cudaMemcpyDeviceToDevice, c.stream),
               "loading tokens");
  }
}

}  // namespace

bool launch_map_op(CudaOpCall& c) {
  switch (c.op.kind) {
    case OpKind::kLoadTokens:
      return load_tokens(c), true;
    case OpKind::kEmbedding:
      return embedding(c), true;
    case OpKind::kEmbeddingBackward:
      return embedding_backward(c), true;
    case OpKind::kRmsNorm:
      return rms_norm(c), true;
    case OpKind::kRmsNormBackward:
      return rms_norm_backward(c), true;
    case OpKind::kRmsNormReduce:
      launch_check(kernels::rms_norm_reduce({c.in[0]->cols, c.in[0]->f32(), c.grad}, c.stream));
      return true;
    case OpKind::kRope:
      return rope(c, false), true;
    case OpKind::kRopeBackward:
      return rope(c, true), true;
    case OpKind::kCopy:
      return copy(c), true;
    case OpKind::kConcatHeads:
      return concat_heads(c), true;
    case OpKind::kReduceHeads:
      return reduce_heads(c), true;
    case OpKind::kAdd:
      return add(c), true;
    case OpKind::kScale:
      launch_check(kernels::scale(
          {c.in[0]->rows * c.in[0]->cols, 1.0F, c.in[0]->bf16(), c.out[0]->bf16()}, c.stream));
      return true;
    case OpKind::kSwiGlu:
    case OpKind::kSwiGluCast:
    case OpKind::kSwiGluCastTranspose:
      return swiglu(c), true;
    case OpKind::kSwiGluBackward:
      return swiglu_backward(c), true;
    case OpKind::kSwiGluWeightBackward:
      return swiglu_weight_backward(c), true;
    case OpKind::kCrossEntropy:
      return cross_entropy(c), true;
    case OpKind::kCrossEntropyPart:
      return cross_entropy_part(c), true;
    case OpKind::kCrossEntropyMerge:
      return cross_entropy_merge(c), true;
    default:
      return false;
  }
}

}  // namespace orrery
