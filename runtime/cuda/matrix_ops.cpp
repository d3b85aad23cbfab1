// Matrix products and attention.
#include "kernels/attention/attention.h"
#include "kernels/attention/attention_merge.h"
#include "kernels/elementwise/bias.h"
#include "kernels/gemm/grouped.h"
#include "kernels/moe/layout.h"
#include "runtime/cuda/op_call.h"
#include "runtime/model/row_block.h"

namespace orrery {
namespace {

kernels::Layout layout_of(GemmLayout l) {
  return l == GemmLayout::kNT   ? kernels::Layout::kNT
         : l == GemmLayout::kNN ? kernels::Layout::kNN
                                : kernels::Layout::kTN;
}

// Activations with their scales as the GEMM wants them.
kernels::Fp8View with_scales(const CudaTensor& x, const CudaTensor& scales) {
  return {x.as<kernels::fp8>(), scales.f32(), x.rows, x.cols, 1, x.rows};
}

// The FP8 weight of an op: its parameter, or the transposed copy among the inputs.
kernels::Fp8Block fp8_weight(const CudaOpCall& c, int64_t n, int64_t k) {
  if (c.param != nullptr) return {c.weight.fp8, c.weight.scales, n, k};
  const CudaTensor& t = *c.in.back();
  return {t.as<kernels::fp8>(), reinterpret_cast<float*>(t.data + scale_offset(t.rows * t.cols)), n,
          k};
}

// The rows of a dense product: all, or of those that travel a block.
struct Rows {
  int64_t count, of_input, of_output;  // from there on
};
Rows rows_of(const CudaOpCall& c) {
  const OpShape& s = c.shape();
  if (s.index == 0) return {c.in[0]->rows, 0, 0};
  const bool sum = c.out[0]->rows == s.m;
  const int64_t first =
      s.m * row_block(c.at.tensor, c.config.plan.tensor_parallel, s.index + (sum ? 1 : 0));
  return {s.m, c.in[0]->rows == s.m ? 0 : first, sum ? 0 : first};
}

// In place, once the product is there.
void add_bias(CudaOpCall& c, int64_t rows, kernels::bf16* out) {
  if (c.bias.bf16 == nullptr) return;
  launch_check(kernels::add_rows({rows, c.shape().n, 1, c.bias.bf16, out}, c.stream));
}

void dense_gemm(CudaOpCall& c) {
  const OpShape& s = c.shape();
  const Rows rows = rows_of(c);
  kernels::bf16* out = c.out[0]->bf16() + rows.of_output * s.n;
  if (c.op.kind == OpKind::kGemmFp8) {
    kernels::Fp8View a = with_scales(*c.in[0], *c.in[1]);
    a.data += rows.of_input * s.k, a.rows = a.tile_stride = rows.count;
    launch_check(kernels::gemm_fp8(
        c.gemm,
        {.m = rows.count, .n = s.n, .k = s.k, .a = a, .b = fp8_weight(c, s.n, s.k), .c = out},
        c.stream));
    return add_bias(c, rows.count, out);
  }
  const bool fp32 = c.graph.tensors[c.graph.outputs(c.op)[0].v].dtype == Dtype::kFp32;
  launch_check(
      kernels::gemm_bf16(c.gemm,
                         {.layout = layout_of(c.op.layout),
                          .m = rows.count,
                          .n = s.n,
                          .k = s.k,
                          .a = c.in[0]->bf16() + rows.of_input * s.k,
                          .lda = s.k,
                          .b = c.weight.bf16,
                          .ldb = c.op.layout == GemmLayout::kNN ? s.n : s.k,
                          .c = fp32 ? c.out[0]->as<void>() : out,
                          .ldc = s.n,
                          .c_type = fp32 ? kernels::GemmOutput::kFp32 : kernels::GemmOutput::kBf16},
                         c.stream));
  add_bias(c, rows.count, out);
}

void grouped_gemm(CudaOpCall& c) {
  const OpShape& s = c.shape();
  const CudaTensor& x = *c.in[0];
  if (c.op.kind == OpKind::kGemmFp8) {
    launch_check(kernels::grouped_gemm_fp8({.groups = s.groups,
                                            .max_rows = x.rows,
                                            .n = s.n,
                                            .k = s.k,
                                            .offsets = c.expert_layout(*c.in[2]).offsets,
                                            .a = with_scales(x, *c.in[1]),
                                            .b = fp8_weight(c, s.n, s.k),
                                            .c = c.out[0]->bf16()},
                                           c.stream));
    return;
  }
  launch_check(kernels::grouped_gemm_bf16({.layout = layout_of(c.op.layout),
                                           .groups = s.groups,
                                           .max_rows = x.rows,
                                           .n = s.n,
                                           .k = s.k,
                                           .offsets = c.expert_layout(*c.in[1]).offsets,
                                           .a = x.bf16(),
                                           .b = c.weight.bf16,
                                           .c = c.out[0]->bf16()},
                                          c.stream));
}

// dyᵀ·x of a linear layer, added to its gradient [out, in], or that gradient.
void dense_wgrad(CudaOpCall& c) {
  const OpShape& s = c.shape();
  if (c.op.kind == OpKind::kGemmFp8Wgrad) {
    launch_check(kernels::gemm_fp8_wgrad(c.gemm,
                                         {.m = s.m,
                                          .n = s.n,
                                          .k = c.in[0]->cols,
                                          .a = fp8_transposed(*c.in[1]),
                                          .b = fp8_transposed(*c.in[0]),
                                          .c = c.grad,
                                          .accumulate = !c.op.writes_gradient},
                                         c.stream));
    return;
  }
  launch_check(kernels::gemm_bf16(c.gemm,
                                  {.layout = kernels::Layout::kTN,
                                   .m = s.m,
                                   .n = s.n,
                                   .k = c.in[0]->rows,
                                   .a = c.in[1]->bf16(),
                                   .lda = s.m,
                                   .b = c.in[0]->bf16(),
                                   .ldb = s.n,
                                   .c = c.grad,
                                   .ldc = s.n,
                                   .c_type = kernels::GemmOutput::kFp32,
                                   .accumulate = !c.op.writes_gradient},
                                  c.stream));
}

// xᵀ·dy over each expert's rows, added to its gradient [in, out], or that gradient.
void expert_wgrad(CudaOpCall& c) {
  const OpShape& s = c.shape();
  const int32_t* offsets = c.expert_layout(*c.in[2]).offsets;
  float* grad = c.grad + s.index * s.m * s.n;
  if (c.op.kind == OpKind::kGemmFp8Wgrad) {
    launch_check(kernels::group_wgrad_fp8({.group = s.index,
                                           .offsets = offsets,
                                           .m = s.m,
                                           .n = s.n,
                                           .a = fp8_transposed(*c.in[0]),
                                           .b = fp8_transposed(*c.in[1]),
                                           .c = grad,
                                           .groups = s.groups,
                                           .accumulate = !c.op.writes_gradient},
                                          c.stream));
    return;
  }
  launch_check(kernels::group_wgrad_bf16({.group = s.index,
                                          .offsets = offsets,
                                          .rows = c.in[0]->rows,
                                          .m = s.m,
                                          .n = s.n,
                                          .a = c.in[0]->bf16(),
                                          .b = c.in[1]->bf16(),
                                          .c = grad,
                                          .groups = s.groups,
                                          .accumulate = !c.op.writes_gradient},
                                         c.stream));
}

void gemm(CudaOpCall& c) {
  const bool weight_gradient = c.op.kind == OpKind::kGemmFp8Wgrad || c.op.layout == GemmLayout::kTN;
  if (weight_gradient) return c.in.size() == 3 ? expert_wgrad(c) : dense_wgrad(c);
  return c.op.row_proportional ? grouped_gemm(c) : dense_gemm(c);
}

// Of a step of the ring after the first, keys and values are those of a rank with other positions:
// from a rank before this one in the group all queries see the first half, which has the earlier of
// that rank's two chunks of the sequence; of a rank after it the later half of the queries see both
// (sequence_position()).
kernels::AttentionShape attention_shape(const CudaOpCall& c) {
  const OpShape& s = c.shape();
  kernels::AttentionShape a{s.m, s.n, s.k, s.groups, s.d_qk, s.d_v};
  if (s.index <= 1) return a;
  a.causal = false;
  const bool from_before = c.at.context >= s.index - 1;
  a.first_query = from_before ? 0 : s.n / 2;
  a.keys = from_before ? s.n / 2 : s.n;
  return a;
}

// Keys and values: two tensors, or one with all keys before all values.
struct KeyValue {
  kernels::bf16 *k, *v;
  int64_t ldk, ldv;
};
KeyValue key_value(const kernels::AttentionShape& a, const CudaTensor* k, const CudaTensor* v) {
  if (v != nullptr) return {k->bf16(), v->bf16(), k->cols, v->cols};
  return {k->bf16(), k->bf16() + a.kv_heads * a.d_qk, k->cols, k->cols};
}

void attention(CudaOpCall& c) {
  kernels::AttentionForwardParams p;
  p.shape = attention_shape(c);
  const KeyValue kv = key_value(p.shape, c.in[1], c.in.size() == 2 ? nullptr : c.in[2]);
  p.scale = static_cast<float>(c.numerics.softmax_scale);
  p.q = c.in[0]->bf16(), p.ldq = c.in[0]->cols;
  p.k = kv.k, p.ldk = kv.ldk;
  p.v = kv.v, p.ldv = kv.ldv;
  p.out = c.out[0]->bf16(), p.ldo = c.out[0]->cols;
  p.lse = c.out[1]->f32();
  launch_check(kernels::attention_forward(p, c.stream));
}

void attention_backward(CudaOpCall& c) {
  const bool joint = c.out.size() == 2;
  kernels::AttentionBackwardParams p;
  p.shape = attention_shape(c);
  const KeyValue kv = key_value(p.shape, c.in[1], joint ? nullptr : c.in[2]);
  const KeyValue grad = key_value(p.shape, c.out[1], joint ? nullptr : c.out[2]);
  const std::size_t at = joint ? 2 : 3;  // of the output
  p.scale = static_cast<float>(c.numerics.softmax_scale);
  p.q = c.in[0]->bf16(), p.ldq = c.in[0]->cols;
  p.k = kv.k, p.ldk = kv.ldk;
  p.v = kv.v, p.ldv = kv.ldv;
  p.out = c.in[at]->bf16(), p.ldo = c.in[at]->cols;
  p.dout = c.in[at + 1]->bf16(), p.lddo = c.in[at + 1]->cols;
  p.lse = c.in[at + 2]->f32();
  p.dq = c.out[0]->bf16(), p.lddq = c.out[0]->cols;
  p.dk = grad.k, p.lddk = grad.ldk;
  p.dv = grad.v, p.lddv = grad.ldv;
  p.workspace_bytes = kernels::attention_backward_workspace(p.shape);
  p.workspace = c.scratch.get(static_cast<int64_t>(p.workspace_bytes));
  launch_check(kernels::attention_backward(p, c.stream));
}

void attention_merge(CudaOpCall& c) {
  kernels::AttentionMergeParams p;
  p.parts = static_cast<int>(c.in.size() / 2);
  p.rows = c.out[0]->rows, p.heads = c.out[1]->cols, p.d_v = c.out[0]->cols / p.heads;
  if (p.parts > kernels::kMaxMergedParts)
    throw Error(ExitCode::kInternal, "more outputs of attention are merged than a kernel takes");
  for (int i = 0; i < p.parts; ++i) {
    p.outs[i] = c.in[static_cast<std::size_t>(i)]->bf16();
    p.lses[i] = c.in[static_cast<std::size_t>(p.parts + i)]->f32();
  }
  p.out = c.out[0]->bf16(), p.lse = c.out[1]->f32();
  launch_check(kernels::attention_merge(p, c.stream));
}

}  // namespace

int64_t scratch_bytes(const CudaOpCall& c) {
  if (c.op.kind == OpKind::kExpertLayout)
    return kernels::expert_layout_workspace(c.routing->gathered(), c.top_k(), c.local_experts);
  if (c.op.kind == OpKind::kAttentionBackward)
    return static_cast<int64_t>(kernels::attention_backward_workspace(attention_shape(c)));
  return 0;
}

bool launch_matrix_op(CudaOpCall& c) {
  switch (c.op.kind) {
    case OpKind::kGemm:
    case OpKind::kGemmFp8:
    case OpKind::kGemmFp8Wgrad:
      return gemm(c), true;
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

}  // namespace orrery
