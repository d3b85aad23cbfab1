// The three steps of the backward, each a launch; attention_backward has checked the arguments.
//
// With p = exp(scale · q·k - lse), dp = dout·v, delta = dout·out and ds = p · (dp - delta):
//   dv = Σ p · dout,  dk = scale · Σ ds · q  over queries;  dq = scale · Σ ds · k  over keys.
// p and ds are computed twice, by key tile and by query tile, so that every sum has one owner.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/attention/dispatch.cuh"
#include "kernels/attention/pairs.cuh"
#include "kernels/attention/tile.cuh"

namespace orrery::kernels::attention {

// What the backward needs to know of a query.
struct QueryRow {
  float lse_log2;  // lse · log2(e)
  float delta;
};

// The rows of a head in the workspace: zeros follow the last query up to whole groups, so that
// groups can be copied in bulk. With q = dout = 0 such queries add nothing.
constexpr int64_t kRowGroup = 64;
constexpr int64_t rows_of_head(int64_t seq) { return ceil_div(seq, kRowGroup) * kRowGroup; }

struct BackwardParams : AttentionBackwardParams {
  QueryRow* rows;  // [batch, heads, rows_of_head(seq)]

  __device__ QueryRow* rows_of(int64_t sequence, int64_t head) const {
    return rows + (sequence * shape.heads + head) * rows_of_head(shape.seq);
  }
};

// p.rows from p.lse, p.out and p.dout.
Status prepare_rows(const BackwardParams& p, cudaStream_t stream);
// p.dk and p.dv.
Status key_gradients(const BackwardParams& p, cudaStream_t stream);
// p.dq.
Status query_gradients(const BackwardParams& p, cudaStream_t stream);

// The heads of one sequence that a block reads: `token` is the sequence's first token.
__device__ inline Head<const bf16> query_head(const BackwardParams& p, int64_t token, int head) {
  return {p.q + token * p.ldq + head * p.shape.d_qk, p.ldq, static_cast<int>(p.shape.d_qk)};
}
__device__ inline Head<const bf16> dout_head(const BackwardParams& p, int64_t token, int head) {
  return {p.dout + token * p.lddo + head * p.shape.d_v, p.lddo, static_cast<int>(p.shape.d_v)};
}
__device__ inline Head<const bf16> key_head(const BackwardParams& p, int64_t token, int head) {
  return {p.k + token * p.ldk + head * p.shape.d_qk, p.ldk, static_cast<int>(p.shape.d_qk)};
}
__device__ inline Head<const bf16> value_head(const BackwardParams& p, int64_t token, int head) {
  return {p.v + token * p.ldv + head * p.shape.d_v, p.ldv, static_cast<int>(p.shape.d_v)};
}

}  // namespace orrery::kernels::attention
