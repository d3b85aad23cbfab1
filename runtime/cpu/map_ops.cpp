// Norms, RoPE, copies, casts, SwiGLU, embedding and loss.
#include "kernels/activation/clipped_swiglu_reference.h"
#include "kernels/elementwise/elementwise_reference.h"
#include "kernels/embedding/embedding_reference.h"
#include "kernels/loss/cross_entropy_reference.h"
#include "kernels/norm/rms_norm_reference.h"
#include "kernels/quant/fake_quant_reference.h"
#include "kernels/rope/rope_reference.h"
#include "runtime/cpu/moe_views.h"
#include "runtime/cpu/op_call.h"
#include "runtime/cpu/recipe_numerics.h"

namespace orrery {
namespace {

using namespace kernels;

template <class T>
void rms_norm_op(OpCall<T>& c) {
  const int64_t rows = c.in[0]->rows, cols = c.in[0]->cols, heads = c.shape().groups;
  const bool adds = c.in.size() > 1;
  T* sum = adds ? c.out[0]->resize(rows, cols) : nullptr;
  T* out = c.out.back()->resize(rows, cols);
  rms_norm_reference<T>(rows * heads, cols / heads, c.input(0), adds ? c.input(1) : nullptr,
                        c.in.size() > 2 ? c.input(2) : nullptr, c.weight,
                        static_cast<T>(c.config.model.norm_eps), sum, out);
}

template <class T>
void rms_norm_backward_op(OpCall<T>& c) {
  const int64_t rows = c.in[1]->rows, cols = c.in[1]->cols, heads = c.shape().groups;
  T* dx = c.out[0]->resize(rows, cols);
  T* partial = c.out[1]->resize(kNormBlocks, cols / heads);
  rms_norm_backward_reference<T>(rows * heads, cols / heads, c.input(0) + c.shape().column,
                                 c.in[0]->cols / heads, c.input(1), c.weight,
                                 c.in.size() > 2 ? c.input(2) : nullptr,
                                 static_cast<T>(c.config.model.norm_eps), dx, partial);
}

template <class T>
void rope_op(OpCall<T>& c, bool inverse) {
  const OpShape& s = c.shape();
  HostTensor<T>& x = *c.in[0];
  // Of a joint key-value tensor only the keys, which come first.
  const int64_t row = x.cols, width = s.k > 0 ? s.k : row / s.groups;
  for (int64_t t = 0; t < x.rows; ++t) {
    const PlanSpec& p = c.config.plan;
    const int64_t position =
        sequence_position(p, c.at.context, t % (p.sequence_length / p.context_parallel));
    rope_reference<T>(1, s.groups, width, s.column, s.n, 1, c.rope_table.data() + position * s.n,
                      c.numerics.rope_style, inverse, x.values.data() + t * row);
  }
}

template <class T>
void copy_op(OpCall<T>& c) {
  const OpShape& s = c.shape();
  const int64_t width = s.n / s.groups;
  T* out = c.out[0]->resize(c.in[0]->rows, s.n);
  copy_slice_reference<T>(c.in[0]->rows, s.groups, c.in[0]->cols / s.groups, s.column, width,
                          c.input(0), out);
}

template <class T>
void concat_op(OpCall<T>& c) {
  const OpShape& s = c.shape();
  const int64_t rows = c.in[0]->rows;
  const int64_t b_width = s.n / s.groups - s.first;
  const bool broadcast = s.groups > 1 && c.in[1]->cols == b_width;
  T* out = c.out[0]->resize(rows, s.n);
  concat_heads_reference<T>(rows, s.groups, c.input(0), s.first, c.input(1), b_width,
                            c.in[0]->cols / s.groups,
                            broadcast ? b_width : c.in[1]->cols / s.groups, broadcast, out);
}

template <class T>
void reduce_heads_op(OpCall<T>& c) {
  const OpShape& s = c.shape();
  T* out = c.out[0]->resize(c.in[0]->rows, s.n);
  reduce_heads_reference<T>(c.in[0]->rows, s.groups, c.in[0]->cols / s.groups, s.column, s.n,
                            c.input(0), out);
}

template <class T>
void repeat_heads_op(OpCall<T>& c) {
  const OpShape& s = c.shape();
  const int64_t rows = c.in[0]->rows, width = c.in[0]->cols / s.groups;
  repeat_heads_reference<T>(rows, s.groups, s.k, width, c.input(0),
                            c.out[0]->resize(rows, s.groups * s.k * width));
}

template <class T>
void sum_heads_op(OpCall<T>& c) {
  const OpShape& s = c.shape();
  const int64_t rows = c.in[0]->rows, width = c.in[0]->cols / (s.groups * s.k);
  sum_heads_reference<T>(rows, s.groups, s.k, width, c.input(0),
                         c.out[0]->resize(rows, s.groups * width));
}

template <class T>
void add_op(OpCall<T>& c) {
  std::vector<const T*> inputs;
  for (const HostTensor<T>* t : c.in) inputs.push_back(t->values.data());
  T* out = c.out[0]->resize(c.in[0]->rows, c.in[0]->cols);
  add_reference<T>(c.in[0]->rows * c.in[0]->cols, inputs.data(), static_cast<int>(inputs.size()),
                   out);
}

// Casts of the recipes other than fp8 (1x128). With exact numerics they keep the values.
template <class T>
RecipeNumerics<T> recipe(const OpCall<T>& c) {
  const bool exact = c.mode == CpuNumerics::kExact;
  return {exact ? Precision::kBf16 : c.config.plan.precision, !is_forward(c.op)};
}

template <class T>
bool in_tiles(const OpCall<T>& c) {
  return c.config.plan.precision == Precision::kFp8;
}

template <class T>
void cast_both_op(OpCall<T>& c) {
  const HostTensor<T>& x = *c.in[0];
  recipe(c).rows(x.rows, x.cols, x.values.data(), c.out[0]->resize(x.rows, x.cols));
  recipe(c).columns(x.rows, x.cols, x.values.data(), c.out[1]->resize(x.cols, x.rows));
}

template <class T>
void cast_op(OpCall<T>& c, bool e5m6) {
  const HostTensor<T>& x = *c.in[0];
  T* out = c.out[0]->resize(x.rows, x.cols);
  if (!in_tiles(c)) return recipe(c).rows(x.rows, x.cols, x.values.data(), out);
  if (c.mode == CpuNumerics::kExact)
    std::copy(x.values.begin(), x.values.end(), out);
  else if (e5m6)
    fake_quant_e5m6_reference<T>(x.rows, x.cols, x.values.data(), out);
  else
    fake_quant_rows_reference<T>(x.rows, x.cols, x.values.data(), out);
}

template <class T>
void transposed_cast(CpuNumerics mode, int64_t rows, int64_t cols, const T* x, T* out) {
  if (mode == CpuNumerics::kFakeQuant) {
    fake_quant_transposed_reference<T>(rows, cols, x, out);
    return;
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < cols; ++i) out[i * rows + r] = x[r * cols + i];
}

template <class T>
void cast_transpose_op(OpCall<T>& c) {
  const HostTensor<T>& x = *c.in[0];
  if (c.in.size() == 1) {
    T* out = c.out[0]->resize(x.cols, x.rows);
    if (!in_tiles(c)) return recipe(c).columns(x.rows, x.cols, x.values.data(), out);
    transposed_cast(c.mode, x.rows, x.cols, x.values.data(), out);
    return;
  }
  HostTensor<T> rows;
  permute_rows(c, x, *c.in[1], rows);
  T* out = c.out[0]->resize(rows.cols, rows.rows);
  transposed_cast(c.mode, rows.rows, rows.cols, rows.values.data(), out);
}

// Rows of gate and up side by side where they are two tensors; else empty.
template <class T>
std::vector<T> joined_gate_up(const OpCall<T>& c) {
  if (c.in.size() < 2) return {};
  return join_rows(c.in[0]->values, c.in[1]->values, c.in[0]->cols);
}

template <class T>
void gated_activation(const OpCall<T>& c, int64_t rows, int64_t width, const T* gate_up, T* out) {
  const ModelSpec& m = c.config.model;
  if (m.activation == Activation::kClippedSwiGlu)
    clipped_swiglu_reference<T>(rows, width, static_cast<T>(m.activation_limit), gate_up, out);
  else
    swiglu_reference<T>(rows, width, gate_up, out);
}

template <class T>
void swiglu_op(OpCall<T>& c) {
  const std::vector<T> joined = joined_gate_up(c);
  const int64_t rows = c.in[0]->rows, width = c.in[0]->cols / (joined.empty() ? 2 : 1);
  T* out = c.out[0]->resize(rows, width);
  gated_activation(c, rows, width, joined.empty() ? c.input(0) : joined.data(), out);
  if (c.op.kind == OpKind::kSwiGlu || c.mode == CpuNumerics::kExact) return;
  const std::vector<T> exact = c.out[0]->values;
  fake_quant_rows_reference<T>(rows, width, exact.data(), out);
}

template <class T>
void swiglu_cast_transpose_op(OpCall<T>& c) {
  const int64_t rows = c.in[0]->rows, width = c.in[0]->cols / 2;
  std::vector<T> act(static_cast<std::size_t>(rows * width));
  gated_activation(c, rows, width, c.input(0), act.data());
  transposed_cast(c.mode, rows, width, act.data(), c.out[0]->resize(width, rows));
}

template <class T>
void cross_entropy_op(OpCall<T>& c) {
  HostTensor<T>& logits = *c.in[0];
  T* loss = c.out[0]->resize(logits.rows, 1);
  const double scale = loss_scale(c.config, c.numerics, static_cast<int>(c.shape().index));
  cross_entropy_reference<T>(logits.rows, logits.cols, logits.values.data(), c.in[1]->ints.data(),
                             static_cast<T>(scale), loss, c.weight);
}

template <class T>
void cross_entropy_part_op(OpCall<T>& c) {
  const HostTensor<T>& logits = *c.in[0];
  cross_entropy_part_reference<T>(logits.rows, logits.cols, c.input(0), c.in[1]->ints.data(),
                                  c.out[0]->resize(logits.rows, kCrossEntropyParts));
}

template <class T>
void cross_entropy_merge_op(OpCall<T>& c) {
  HostTensor<T>& logits = *c.in[0];
  T* loss = c.out[0]->resize(logits.rows, 1);
  const double scale = loss_scale(c.config, c.numerics, static_cast<int>(c.shape().index));
  T total = 0;
  cross_entropy_merge_reference<T>(logits.rows, logits.cols, c.in[2]->rows / logits.rows,
                                   logits.values.data(), c.in[1]->ints.data(), c.input(2),
                                   static_cast<T>(scale), loss, &total);
  // The whole group has it; one rank counts it.
  if (c.at.tensor == 0) *c.weight += total;
}

}  // namespace

template <class T>
bool run_map_op(OpCall<T>& c) {
  switch (c.op.kind) {
    case OpKind::kEmbedding:
      embedding_forward_reference<T>(c.in[0]->rows, c.shape().n, c.in[0]->ints.data(), c.weight,
                                     c.out[0]->resize(c.in[0]->rows, c.shape().n));
      return true;
    case OpKind::kEmbeddingBackward:
      embedding_backward_reference<T>(c.in[0]->rows, c.in[0]->cols, c.in[1]->ints.data(),
                                      c.input(0), c.grad);
      return true;
    case OpKind::kRmsNorm:
      return rms_norm_op(c), true;
    case OpKind::kRmsNormBackward:
      return rms_norm_backward_op(c), true;
    case OpKind::kRmsNormReduce:
      rms_norm_reduce_reference<T>(c.in[0]->cols, c.input(0), c.grad);
      return true;
    case OpKind::kRope:
      return rope_op(c, false), true;
    case OpKind::kRopeBackward:
      return rope_op(c, true), true;
    case OpKind::kCopy:
      return copy_op(c), true;
    case OpKind::kConcatHeads:
      return concat_op(c), true;
    case OpKind::kReduceHeads:
      return reduce_heads_op(c), true;
    case OpKind::kRepeatHeads:
      return repeat_heads_op(c), true;
    case OpKind::kSumHeads:
      return sum_heads_op(c), true;
    case OpKind::kAdd:
      return add_op(c), true;
    case OpKind::kScale:
      scale_reference<T>(c.in[0]->rows * c.in[0]->cols, T(1), c.input(0),
                         c.out[0]->resize(c.in[0]->rows, c.in[0]->cols));
      return true;
    case OpKind::kCast:
      return cast_op(c, false), true;
    case OpKind::kCastE5M6:
      return cast_op(c, true), true;
    case OpKind::kCastBack:
    case OpKind::kCastBackE5M6:
      c.out[0]->resize(c.in[0]->rows, c.in[0]->cols);
      c.out[0]->values = c.in[0]->values;
      return true;
    case OpKind::kCastTranspose:
      return cast_transpose_op(c), true;
    case OpKind::kCastBoth:
      return cast_both_op(c), true;
    case OpKind::kAmax:             // the casts find it themselves
    case OpKind::kTransposeScales:  // here a value and its scale are one number
      c.out[0]->resize(0, 0);
      return true;
    case OpKind::kSwiGlu:
    case OpKind::kSwiGluCast:
      return swiglu_op(c), true;
    case OpKind::kSwiGluCastTranspose:
      return swiglu_cast_transpose_op(c), true;
    case OpKind::kCrossEntropy:
      return cross_entropy_op(c), true;
    case OpKind::kCrossEntropyPart:
      return cross_entropy_part_op(c), true;
    case OpKind::kCrossEntropyMerge:
      return cross_entropy_merge_op(c), true;
    default:
      return false;
  }
}

template bool run_map_op(OpCall<float>&);
template bool run_map_op(OpCall<double>&);

}  // namespace orrery
