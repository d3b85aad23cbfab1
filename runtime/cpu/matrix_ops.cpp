// Matrix products and attention.
#include "kernels/attention/attention_part_reference.h"
#include "kernels/elementwise/bias_reference.h"
#include "kernels/gemm/gemm_reference.h"
#include "runtime/cpu/moe_views.h"
#include "runtime/cpu/op_call.h"
#include "runtime/io/counter_random.h"
#include "runtime/model/row_block.h"

namespace orrery {
namespace {

using kernels::AttentionShape;
using kernels::gemm_reference;
using kernels::Layout;

Layout layout_of(GemmLayout l) {
  return l == GemmLayout::kNT ? Layout::kNT : l == GemmLayout::kNN ? Layout::kNN : Layout::kTN;
}

// Rows [begin, end) of an expert.
struct Group {
  int64_t begin, end;
};
template <class T>
Group group_of(const OpCall<T>& c, const HostTensor<T>& layout, int64_t expert) {
  const int32_t* offsets = expert_offsets(c, layout);
  return {offsets[expert], offsets[expert + 1]};
}

// C[m, n] += Aᵀ·B over the rows of g. FP8 operands come transposed.
template <class T>
void add_weight_gradient(const OpCall<T>& c, const HostTensor<T>& a, const HostTensor<T>& b,
                         Group g, T* grad) {
  const OpShape& s = c.shape();
  const bool transposed = c.op.kind == OpKind::kGemmFp8Wgrad;
  const int64_t k = g.end - g.begin;
  if (transposed)
    gemm_reference<T>(Layout::kNT, s.m, s.n, k, a.values.data() + g.begin, a.cols,
                      b.values.data() + g.begin, b.cols, grad, s.n, true);
  else
    gemm_reference<T>(Layout::kTN, s.m, s.n, k, a.values.data() + g.begin * s.m, s.m,
                      b.values.data() + g.begin * s.n, s.n, grad, s.n, true);
}

// dyᵀ·x of a linear layer, or xᵀ·dy over the rows of each of the op's experts.
template <class T>
void weight_gradient(OpCall<T>& c) {
  const OpShape& s = c.shape();
  if (c.op.writes_gradient) std::fill_n(c.grad, c.param->count(), T(0));
  if (c.in.size() != 3) {
    const HostTensor<T>& dy = *c.in[1];
    const int64_t rows = c.op.kind == OpKind::kGemmFp8Wgrad ? dy.cols : dy.rows;
    return add_weight_gradient(c, dy, *c.in[0], {0, rows}, c.grad);
  }
  for (int64_t e = s.index; e < s.index + s.groups; ++e)
    add_weight_gradient(c, *c.in[0], *c.in[1], group_of(c, *c.in[2], e), c.grad + e * s.m * s.n);
}

// The weight that the op reads: transposed ones are tensors.
template <class T>
const T* weight_operand(const OpCall<T>& c) {
  return c.weight != nullptr ? c.weight : c.in.back()->values.data();
}

template <class T>
void grouped_gemm(OpCall<T>& c) {
  const OpShape& s = c.shape();
  const HostTensor<T>& x = *c.in[0];
  const HostTensor<T>& layout = *c.in[c.in.size() > 2 ? 2 : 1];  // after the scales, where given
  const Layout l = layout_of(c.op.layout);
  T* out = c.out[0]->resize(x.rows, s.n);
  for (int64_t e = 0; e < s.groups; ++e) {
    const Group g = group_of(c, layout, e);
    gemm_reference<T>(l, g.end - g.begin, s.n, s.k, x.values.data() + g.begin * s.k, s.k,
                      weight_operand(c) + e * s.n * s.k, l == Layout::kNN ? s.n : s.k,
                      out + g.begin * s.n, s.n, false);
    if (c.bias != nullptr)
      kernels::add_bias_reference<T>(g.end - g.begin, s.n, c.bias + e * s.n, out + g.begin * s.n);
  }
}

// A step of pipelined rows (sim/graph/pipelined_rows.h): a block of the input or the output, or
// both.
template <class T>
void block_gemm(OpCall<T>& c) {
  const OpShape& s = c.shape();
  const int64_t n = c.config.plan.tensor_parallel;
  const bool sum = c.graph.tensors[c.graph.outputs(c.op)[0].v].rows == s.m;
  const int64_t block = row_block(c.at.tensor, n, s.index + (sum ? 1 : 0));
  HostTensor<T>& out = *c.out[0];
  if (sum || out.rows == 0) out.resize(sum ? s.m : s.m * n, s.n);
  const T* x = c.input(0) + (c.in[0]->rows == s.m ? 0 : block * s.m * s.k);
  const Layout l = layout_of(c.op.layout);
  gemm_reference<T>(l, s.m, s.n, s.k, x, s.k, weight_operand(c), l == Layout::kNN ? s.n : s.k,
                    out.values.data() + (sum ? 0 : block * s.m * s.n), s.n, false);
  if (c.bias != nullptr)
    kernels::add_bias_reference<T>(s.m, s.n, c.bias,
                                   out.values.data() + (sum ? 0 : block * s.m * s.n));
}

template <class T>
void gemm(OpCall<T>& c) {
  if (c.op.layout == GemmLayout::kTN) return weight_gradient(c);
  if (c.op.row_proportional) return grouped_gemm(c);
  const OpShape& s = c.shape();
  const Layout l = layout_of(c.op.layout);
  if (s.index > 0) return block_gemm(c);
  T* out = c.out[0]->resize(c.in[0]->rows, s.n);
  gemm_reference<T>(l, c.in[0]->rows, s.n, s.k, c.input(0), s.k, weight_operand(c),
                    l == Layout::kNN ? s.n : s.k, out, s.n, false);
  if (c.bias != nullptr) kernels::add_bias_reference<T>(c.in[0]->rows, s.n, c.bias, out);
}

template <class T>
void transpose_weight(OpCall<T>& c) {
  const int64_t groups = c.param->groups;
  const int64_t rows = c.param->rows / groups, cols = c.param->cols;
  T* out = c.out[0]->resize(groups * cols, rows);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < cols; ++i)
        out[(g * cols + i) * rows + r] = c.weight[(g * rows + r) * cols + i];
}

template <class T>
AttentionShape attention_shape(const OpCall<T>& c) {
  const OpShape& s = c.shape();
  return {s.m, s.n, s.k, s.groups, s.d_qk, s.d_v};
}

// Keys and values: two tensors, or one with all keys before all values.
template <class T>
struct KeyValue {
  T *k, *v;
  int64_t ldk, ldv;
};
template <class T>
KeyValue<T> key_value(const AttentionShape& a, HostTensor<T>* k, HostTensor<T>* v) {
  if (v != nullptr) return {k->values.data(), v->values.data(), k->cols, v->cols};
  return {k->values.data(), k->values.data() + a.kv_heads * a.d_qk, k->cols, k->cols};
}

// Positions of the rank's queries, or of the keys and values that a step of the ring brought it.
template <class T>
std::vector<int64_t> ring_positions(const OpCall<T>& c, bool keys) {
  const PlanSpec& p = c.config.plan;
  const int64_t n = p.context_parallel;
  const int64_t owner = keys ? (c.at.context + n - (c.shape().index - 1)) % n : c.at.context;
  std::vector<int64_t> at(static_cast<std::size_t>(c.shape().n));
  for (std::size_t i = 0; i < at.size(); ++i)
    at[i] = sequence_position(p, owner, static_cast<int64_t>(i));
  return at;
}

// Factors of the probabilities: (sequence, position, head, key) decides, so that the backward, a
// core computed again and another layout of the ranks draw the same. Empty without dropout.
template <class T>
std::vector<T> probability_dropout(const OpCall<T>& c) {
  const double rate = c.config.model.attention_dropout;
  if (rate == 0) return {};
  constexpr uint64_t kStream = 3;  // beside those of StageBuilder::Dropout
  const uint64_t key =
      stream_key(c.random_key, static_cast<uint64_t>(4 * (c.op.layer + 1)) + kStream);
  const auto threshold = static_cast<uint64_t>(rate * 0x1p53);
  const AttentionShape a = attention_shape(c);
  const int64_t all_heads = c.config.model.heads, first_head = c.at.tensor * a.heads;
  std::vector<T> factors(static_cast<std::size_t>(a.tokens() * a.heads * a.seq));
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const auto e = static_cast<int64_t>(i);
    const int64_t token = e / (a.heads * a.seq), head = first_head + e / a.seq % a.heads;
    const auto global = c.first_sequence * static_cast<uint64_t>(a.seq * all_heads * a.seq) +
                        static_cast<uint64_t>((token * all_heads + head) * a.seq + e % a.seq);
    const uint64_t random = counter_random(key, global);
    factors[i] = (random >> 11) < threshold ? T(0) : static_cast<T>(1 / (1 - rate));
  }
  return factors;
}

template <class T>
kernels::AttentionScores<T> attention_scores(const OpCall<T>& c, const std::vector<T>& dropout) {
  return {c.shape().window, c.config.model.position == PositionKind::kAlibi, c.weight, c.grad,
          dropout.empty() ? nullptr : dropout.data()};
}

template <class T>
void attention(OpCall<T>& c) {
  const AttentionShape a = attention_shape(c);
  const bool joint = c.in.size() == 2;
  const KeyValue<T> kv = key_value(a, c.in[1], joint ? nullptr : c.in[2]);
  T* out = c.out[0]->resize(a.tokens(), a.heads * a.d_v);
  T* lse = c.out[1]->resize(a.tokens(), a.heads);
  for (std::size_t i = 2; i < c.out.size(); ++i)
    c.out[i]->resize(0, 0);  // the reference computes its probabilities anew
  if (c.shape().index > 0)
    return kernels::attention_part_reference<T>(
        a, ring_positions(c, false), ring_positions(c, true), c.numerics.softmax_scale, c.input(0),
        c.in[0]->cols, kv.k, kv.ldk, kv.v, kv.ldv, out, a.heads * a.d_v, lse);
  const std::vector<T> dropout = probability_dropout(c);
  kernels::attention_forward_reference<T>(a, c.numerics.softmax_scale, c.input(0), c.in[0]->cols,
                                          kv.k, kv.ldk, kv.v, kv.ldv, out, a.heads * a.d_v, lse,
                                          attention_scores(c, dropout));
}

template <class T>
void attention_backward(OpCall<T>& c) {
  const AttentionShape a = attention_shape(c);
  const bool joint = c.out.size() == 2;
  const KeyValue<T> kv = key_value(a, c.in[1], joint ? nullptr : c.in[2]);
  const std::size_t at = joint ? 2 : 3;  // of the output
  T* dq = c.out[0]->resize(a.tokens(), a.heads * a.d_qk);
  c.out[1]->resize(a.tokens(), a.kv_heads * (joint ? a.d_qk + a.d_v : a.d_qk));
  if (!joint) c.out[2]->resize(a.tokens(), a.kv_heads * a.d_v);
  const KeyValue<T> grad = key_value(a, c.out[1], joint ? nullptr : c.out[2]);
  const int64_t ldo = a.heads * a.d_v;
  if (c.shape().index > 0)
    return kernels::attention_part_backward_reference<T>(
        a, ring_positions(c, false), ring_positions(c, true), c.numerics.softmax_scale, c.input(0),
        c.in[0]->cols, kv.k, kv.ldk, kv.v, kv.ldv, c.input(at), ldo, c.input(at + 1), ldo,
        c.input(at + 2), dq, a.heads * a.d_qk, grad.k, grad.ldk, grad.v, grad.ldv);
  const std::vector<T> dropout = probability_dropout(c);
  kernels::attention_backward_reference<T>(
      a, c.numerics.softmax_scale, c.input(0), c.in[0]->cols, kv.k, kv.ldk, kv.v, kv.ldv,
      c.input(at), ldo, c.input(at + 1), ldo, c.input(at + 2), dq, a.heads * a.d_qk, grad.k,
      grad.ldk, grad.v, grad.ldv, attention_scores(c, dropout));
}

template <class T>
void attention_merge(OpCall<T>& c) {
  const auto parts = static_cast<int64_t>(c.in.size() / 2);
  const int64_t rows = c.in[0]->rows, cols = c.in[0]->cols, heads = c.in.back()->cols;
  std::vector<const T*> outs, sums;
  for (int64_t i = 0; i < parts; ++i) {
    outs.push_back(c.input(static_cast<std::size_t>(i)));
    sums.push_back(c.input(static_cast<std::size_t>(parts + i)));
  }
  kernels::attention_merge_reference<T>(rows, heads, cols / heads, outs, sums,
                                        c.out[0]->resize(rows, cols),
                                        c.out[1]->resize(rows, heads));
}

}  // namespace

template <class T>
bool run_matrix_op(OpCall<T>& c) {
  switch (c.op.kind) {
    case OpKind::kGemm:
    case OpKind::kGemmFp8:
      return gemm(c), true;
    case OpKind::kGemmFp8Wgrad:
      return weight_gradient(c), true;
    case OpKind::kTransposeFp8:
      return transpose_weight(c), true;
    case OpKind::kAttention:
      return attention(c), true;
    case OpKind::kAttentionBackward:
      return attention_backward(c), true;
    case OpKind::kAttentionMerge:
      return attention_merge(c), true;
    default:
      return false;
  }
}

template bool run_matrix_op(OpCall<float>&);
template bool run_matrix_op(OpCall<double>&);

}  // namespace orrery
