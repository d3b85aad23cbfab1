#include "kernels/attention/backward.cuh"

namespace orrery::kernels::attention {
namespace {

// Warps own 16 query rows; k and v are double-buffered. Tiles of wide heads are smaller to fit
// shared memory.
template <class W>
struct QueryTile : W {
  static constexpr bool kWide = W::kQk + W::kV > 320;
  static constexpr int kWarps = kWide ? 4 : 8, kThreads = 32 * kWarps;
  static constexpr int kRows = 16 * kWarps, kKeys = kWide ? 32 : 64;
  static constexpr int kBlocks = W::kQk + W::kV > 128 ? 1 : 2;  // per multiprocessor
  static constexpr int kQElements = kTileElements<kRows, W::kQk>;
  static constexpr int kDoutElements = kTileElements<kRows, W::kV>;
  static constexpr int kKElements = kTileElements<kKeys, W::kQk>;
  static constexpr int kStageElements = kKElements + kTileElements<kKeys, W::kV>;
  static constexpr int kSharedBytes = 2 * (kQElements + kDoutElements + 2 * kStageElements);
};

// From s = q·kᵀ and dp: ds · 1/scale, in dp. rows[i]: of query row + 8 i. Hidden pairs get 0 when
// `masked`.
template <int kN>
__device__ void score_gradients(const float (&s)[1][kN][4], float (&dp)[1][kN][4],
                                const QueryRow (&rows)[2], float scale_log2, bool masked,
                                const Pairs& pairs, int row, int key) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const QueryRow& r = rows[i / 2];
      const float p = exp2_approx(s[0][n][i] * scale_log2 - r.lse_log2);
      const bool hidden = masked && pairs.hidden(row + 8 * (i / 2), key + 8 * n + i % 2);
      dp[0][n][i] = hidden ? 0.f : p * (dp[0][n][i] - r.delta);
    }
  }
}

// A block per (sequence, query head, query tile), long tiles first.
template <class W>
__global__ void __launch_bounds__(QueryTile<W>::kThreads, QueryTile<W>::kBlocks)
    query_gradients_kernel(BackwardParams p) {
  using Tile = QueryTile<W>;
  constexpr int kRows = Tile::kRows, kKeys = Tile::kKeys, kThreads = Tile::kThreads;
  extern __shared__ uint4 shared[];
  bf16* q_tile = reinterpret_cast<bf16*>(shared);
  bf16* dout_tile = q_tile + Tile::kQElements;
  bf16* stages = dout_tile + Tile::kDoutElements;

  const AttentionShape& s = p.shape;
  const int seq = static_cast<int>(s.seq);
  const int tiles = (seq + kRows - 1) / kRows;
  const int first = (tiles - 1 - static_cast<int>(blockIdx.x) % tiles) * kRows;
  const int sequence_head = static_cast<int>(blockIdx.x) / tiles;
  const int head = sequence_head % static_cast<int>(s.heads);
  const int kv_head = head / static_cast<int>(s.group());
  const int sequence = sequence_head / static_cast<int>(s.heads);
  const int64_t token = sequence * s.seq;
  const Head<const bf16> k = key_head(p, token, kv_head), v = value_head(p, token, kv_head);
  const auto load_stage = [&](int key) {
    bf16* stage = stages + key / kKeys % 2 * Tile::kStageElements;
    load_tile<kThreads, kKeys, W::kQk>(stage, k, key, seq);
    load_tile<kThreads, kKeys, W::kV>(stage + Tile::kKElements, v, key, seq);
    cp_async_commit();
  };

  load_tile<kThreads, kRows, W::kQk>(q_tile, query_head(p, token, head), first, seq);
  load_tile<kThreads, kRows, W::kV>(dout_tile, dout_head(p, token, head), first, seq);
  load_stage(0);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_first = first + warp * 16;
  bf16* warp_q = q_tile + warp * 16 * kTileStride<W::kQk>;
  const bf16* warp_dout = dout_tile + warp * 16 * kTileStride<W::kV>;
  QueryRow rows[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = warp_first + lane / 4 + 8 * i;
    rows[i] = row < seq ? p.rows_of(sequence, head)[row] : QueryRow{0, 0};
  }
  const float scale_log2 = p.scale * kLog2E;
  float dq[1][W::kQk / 8][4];
  set_zero(dq);

  const Pairs pairs(s);
  const int keys = max(1, pairs.key_end(min(first + kRows, seq)));
  for (int key = 0; key < keys; key += kKeys) {
    cp_async_wait();
    __syncthreads();  // this stage is here, and the last reads of the other one are done
    if (key + kKeys < keys) load_stage(key + kKeys);
    if (pairs.all_hidden(warp_first + 16, key)) continue;
    const bf16* k_tile = stages + key / kKeys % 2 * Tile::kStageElements;
    float scores[1][kKeys / 8][4], dp[1][kKeys / 8][4];
    set_zero(scores);
    multiply_transposed<1, kKeys / 8, W::kQk>(scores, warp_q, k_tile);
    set_zero(dp);
    multiply_transposed<1, kKeys / 8, W::kV>(dp, warp_dout, k_tile + Tile::kKElements);
    score_gradients(scores, dp, rows, scale_log2, pairs.some_hidden(warp_first, key, kKeys), pairs,
                    warp_first + lane / 4, key + lane % 4 * 2);
    multiply(dq, dp, k_tile);
  }
  const Head<bf16> out{p.dq + token * p.lddq + head * s.d_qk, p.lddq, static_cast<int>(s.d_qk)};
  // A warp reads only its own rows of q, and no longer needs them.
  store_rows(out, warp_first, seq, dq, {{p.scale, p.scale}}, warp_q);
}

}  // namespace

Status query_gradients(const BackwardParams& p, cudaStream_t stream) {
  return with_widths(p.shape, [&]<class W>(W) {
    using Tile = QueryTile<W>;
    const int64_t blocks = ceil_div(p.shape.seq, Tile::kRows) * p.shape.heads * p.shape.batch;
    return launch_tiles("attention_backward", query_gradients_kernel<W>, blocks, Tile::kThreads,
                        Tile::kSharedBytes, p, stream);
  });
}

}  // namespace orrery::kernels::attention
