#include "kernels/attention/attention.h"
#include "kernels/attention/backward.cuh"
#include "kernels/attention/bulk_backward.h"

namespace orrery::kernels {
namespace attention {
namespace {

constexpr int kRowThreads = 256, kRowLanes = 8;

// kRowLanes threads per (query, head), queries up to whole groups.
__global__ void __launch_bounds__(kRowThreads) prepare_rows_kernel(BackwardParams p) {
  const AttentionShape& s = p.shape;
  const int64_t item = (static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x) / kRowLanes;
  const int64_t query = item / s.heads % rows_of_head(s.seq), head = item % s.heads;
  const int64_t sequence = item / s.heads / rows_of_head(s.seq);
  // Threads past the end take part in the shuffles.
  const bool inside = sequence < s.batch && query < s.seq;
  const int64_t token = inside ? sequence * s.seq + query : 0;
  const bf16* out = p.out + token * p.ldo + head * s.d_v;
  const bf16* dout = p.dout + token * p.lddo + head * s.d_v;
  float delta = 0;
  for (int64_t d = threadIdx.x % kRowLanes * kVec; d < s.d_v; d += kRowLanes * kVec) {
    float x[kVec], y[kVec];
    load8(out + d, x);
    load8(dout + d, y);
#pragma unroll
    for (int i = 0; i < kVec; ++i) delta += x[i] * y[i];
  }
#pragma unroll
  for (int offset = kRowLanes / 2; offset > 0; offset /= 2)
    delta += __shfl_xor_sync(0xffffffffu, delta, offset);
  if (sequence >= s.batch || threadIdx.x % kRowLanes != 0) return;
  p.rows_of(sequence, head)[query] =
      inside ? QueryRow{p.lse[token * s.heads + head] * kLog2E, delta} : QueryRow{0, 0};
}

}  // namespace

Status prepare_rows(const BackwardParams& p, cudaStream_t stream) {
  const AttentionShape& s = p.shape;
  const int64_t threads = s.batch * s.heads * rows_of_head(s.seq) * kRowLanes;
  const auto blocks = static_cast<unsigned>(ceil_div(threads, kRowThreads));
  prepare_rows_kernel<<<blocks, kRowThreads, 0, stream>>>(p);
  return launched("attention_backward");
}

}  // namespace attention

std::size_t attention_backward_workspace(const AttentionShape& s) {
  const int64_t rows = s.batch * s.heads * attention::rows_of_head(s.seq);
  return static_cast<std::size_t>(rows) * sizeof(attention::QueryRow);
}

Status attention_backward(const AttentionBackwardParams& p, cudaStream_t stream) {
  using namespace attention;
  constexpr const char* kName = "attention_backward";
  const AttentionShape& s = p.shape;
  if (Status bad = check_shape(kName, s, p.scale); !bad.ok()) return bad;
  if (s.tokens() == 0) return {};
  const int64_t q_width = s.heads * s.d_qk, k_width = s.kv_heads * s.d_qk;
  const int64_t out_width = s.heads * s.d_v, v_width = s.kv_heads * s.d_v;
  if (Status bad = check_operands(kName, {{"q", p.q, p.ldq, q_width},
                                          {"k", p.k, p.ldk, k_width},
                                          {"v", p.v, p.ldv, v_width},
                                          {"out", p.out, p.ldo, out_width},
                                          {"dout", p.dout, p.lddo, out_width},
                                          {"dq", p.dq, p.lddq, q_width},
                                          {"dk", p.dk, p.lddk, k_width},
                                          {"dv", p.dv, p.lddv, v_width}});
      !bad.ok())
    return bad;
  if (Status bad = check(kName, {{p.lse != nullptr, "lse is null"},
                                 {p.workspace != nullptr && aligned(p.workspace),
                                  "workspace is null or not 16-byte aligned"},
                                 {p.workspace_bytes >= attention_backward_workspace(s),
                                  "workspace_bytes is below attention_backward_workspace"}});
      !bad.ok())
    return bad;
  const BackwardParams all{p, static_cast<QueryRow*>(p.workspace)};
  if (Status bad = prepare_rows(all, stream); !bad.ok()) return bad;
  if (bulk_backward_takes(s)) return bulk_backward(all, stream);
  if (Status bad = key_gradients(all, stream); !bad.ok()) return bad;
  return query_gradients(all, stream);
}

}  // namespace orrery::kernels
