// What only some families of models have: LayerNorm, ungated activations, biases, learned
// positions, the gate of a shared expert, dropout.
#include "kernels/activation/pointwise_reference.h"
#include "kernels/elementwise/bias_reference.h"
#include "kernels/norm/layer_norm_reference.h"
#include "kernels/quant/fake_quant_reference.h"
#include "runtime/cpu/moe_views.h"
#include "runtime/cpu/op_call.h"
#include "runtime/io/counter_random.h"

namespace orrery {
namespace {

using namespace kernels;

template <class T>
void layer_norm(OpCall<T>& c) {
  const int64_t rows = c.in[0]->rows, cols = c.in[0]->cols;
  const bool adds = c.in.size() > 1;
  T* sum = adds ? c.out[0]->resize(rows, cols) : nullptr;
  layer_norm_reference<T>(rows, cols, c.input(0), adds ? c.input(1) : nullptr,
                          c.in.size() > 2 ? c.input(2) : nullptr, c.weight, c.bias,
                          static_cast<T>(c.config.model.norm_eps), sum,
                          c.out.back()->resize(rows, cols));
}

template <class T>
void layer_norm_backward(OpCall<T>& c) {
  const int64_t rows = c.in[1]->rows, cols = c.in[1]->cols;
  const bool bias = c.bias != nullptr;
  T* dx = c.out[0]->resize(rows, cols);
  layer_norm_backward_reference<T>(rows, cols, c.input(0) + c.shape().column, c.in[0]->cols,
                                   c.input(1), c.weight, c.in.size() > 2 ? c.input(2) : nullptr,
                                   static_cast<T>(c.config.model.norm_eps), bias, dx,
                                   c.out[1]->resize(kNormBlocks, bias ? 2 * cols : cols));
}

template <class T>
Pointwise activation_of(const OpCall<T>& c) {
  switch (c.config.model.activation) {
    case Activation::kGelu:
      return Pointwise::kGelu;
    case Activation::kGeluTanh:
      return Pointwise::kGeluTanh;
    default:
      return Pointwise::kSquaredRelu;
  }
}

template <class T>
void activation(OpCall<T>& c) {
  const HostTensor<T>& x = *c.in[0];
  T* out = c.out[0]->resize(x.rows, x.cols);
  pointwise_reference<T>(activation_of(c), x.rows * x.cols, c.input(0), out);
  if (c.op.kind == OpKind::kActivation || c.mode == CpuNumerics::kExact) return;
  const std::vector<T> exact = c.out[0]->values;
  fake_quant_rows_reference<T>(x.rows, x.cols, exact.data(), out);
}

template <class T>
void activation_cast_transpose(OpCall<T>& c) {
  const HostTensor<T>& x = *c.in[0];
  std::vector<T> act(x.values.size());
  pointwise_reference<T>(activation_of(c), x.rows * x.cols, c.input(0), act.data());
  T* out = c.out[0]->resize(x.cols, x.rows);
  if (c.mode == CpuNumerics::kFakeQuant) {
    fake_quant_transposed_reference<T>(x.rows, x.cols, act.data(), out);
    return;
  }
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t i = 0; i < x.cols; ++i)
      out[i * x.rows + r] = act[static_cast<std::size_t>(r * x.cols + i)];
}

template <class T>
void activation_backward(OpCall<T>& c) {
  const int64_t rows = c.in[0]->rows, cols = c.in[0]->cols;
  const bool weighted = c.in.size() > 2;
  T* act = weighted ? c.out[1]->resize(rows, cols) : nullptr;
  pointwise_backward_reference<T>(activation_of(c), rows, cols, c.input(0), c.input(1),
                                  weighted ? c.input(2) : nullptr, act,
                                  c.out[0]->resize(rows, cols));
}

template <class T>
void bias_backward(OpCall<T>& c) {
  const HostTensor<T>& dy = *c.in[0];
  if (c.in.size() == 1) {
    bias_backward_reference<T>(dy.rows, dy.cols, dy.values.data(), nullptr, c.grad);
    return;
  }
  const HostTensor<T>& layout = *c.in[1];
  const int32_t* offsets = expert_offsets(c, layout);
  for (int64_t e = 0; e < c.shape().groups; ++e) {
    const int64_t begin = offsets[e], rows = offsets[e + 1] - begin;
    bias_backward_reference<T>(rows, dy.cols, dy.values.data() + begin * dy.cols,
                               c.shape().index == 1 ? layout.values.data() + begin : nullptr,
                               c.grad + e * dy.cols);
  }
}

// Element (sequence, position, column) of the data decides, whatever the layout of the ranks; the
// mask holds the factors.
template <class T>
void dropout(OpCall<T>& c) {
  const HostTensor<T>& x = *c.in[0];
  const double p = c.config.model.dropout;
  const uint64_t key =
      stream_key(c.random_key, static_cast<uint64_t>(4 * (c.op.layer + 1) + c.shape().index));
  const auto threshold = static_cast<uint64_t>(p * 0x1p53);
  const auto first = c.first_sequence * static_cast<uint64_t>(c.config.plan.sequence_length);
  T* out = c.out[0]->resize(x.rows, x.cols);
  T* mask = c.out[1]->resize(x.rows, x.cols);
  for (int64_t r = 0; r < x.rows; ++r) {
    const uint64_t token = first + static_cast<uint64_t>(token_of_row(c.config.plan, c.at, r));
    for (int64_t i = 0; i < x.cols; ++i) {
      const uint64_t random =
          counter_random(key, token * static_cast<uint64_t>(x.cols) + static_cast<uint64_t>(i));
      const auto e = static_cast<std::size_t>(r * x.cols + i);
      mask[e] = (random >> 11) < threshold ? T(0) : static_cast<T>(1 / (1 - p));
      out[e] = x.values[e] * mask[e];
    }
  }
}

// Each row with that of its position in the table.
template <class T>
void positions(OpCall<T>& c, bool backward) {
  const OpShape& s = c.shape();
  for (int64_t r = 0; r < c.in[0]->rows; ++r) {
    const int64_t at = token_of_row(c.config.plan, c.at, r) % s.k * s.n;
    T* row = c.in[0]->values.data() + r * s.n;
    if (backward)
      positions_backward_reference<T>(1, s.n, 1, row, c.grad + at);
    else
      add_positions_reference<T>(1, s.n, 1, c.weight + at, row);
  }
}

template <class T>
void dropout_backward(OpCall<T>& c) {
  T* out = c.out[0]->resize(c.in[0]->rows, c.in[0]->cols);
  for (std::size_t i = 0; i < c.in[0]->values.size(); ++i) out[i] = c.input(0)[i] * c.input(1)[i];
}

}  // namespace

template <class T>
bool run_block_op(OpCall<T>& c) {
  const OpShape& s = c.shape();
  switch (c.op.kind) {
    case OpKind::kLayerNorm:
      return layer_norm(c), true;
    case OpKind::kLayerNormBackward:
      return layer_norm_backward(c), true;
    case OpKind::kLayerNormReduce:
      layer_norm_reduce_reference<T>(c.bias != nullptr ? s.n / 2 : s.n, c.input(0), c.grad,
                                     c.bias_grad);
      return true;
    case OpKind::kActivation:
    case OpKind::kActivationCast:
      return activation(c), true;
    case OpKind::kActivationCastTranspose:
      return activation_cast_transpose(c), true;
    case OpKind::kActivationBackward:
      return activation_backward(c), true;
    case OpKind::kBiasBackward:
      return bias_backward(c), true;
    case OpKind::kAddPositions:
      return positions(c, false), true;
    case OpKind::kPositionsBackward:
      return positions(c, true), true;
    case OpKind::kGate:
      gate_reference<T>(c.in[0]->rows, s.n, c.input(0), c.input(1),
                        c.out[0]->resize(c.in[0]->rows, s.n));
      return true;
    case OpKind::kGateBackward:
      gate_backward_reference<T>(c.in[0]->rows, s.n, c.input(0), c.input(1), c.input(2),
                                 c.out[0]->resize(c.in[0]->rows, s.n),
                                 c.out[1]->resize(c.in[0]->rows, 1));
      return true;
    case OpKind::kDropout:
      return dropout(c), true;
    case OpKind::kDropoutBackward:
      return dropout_backward(c), true;
    default:
      return false;
  }
}

template bool run_block_op(OpCall<float>&);
template bool run_block_op(OpCall<double>&);

}  // namespace orrery
