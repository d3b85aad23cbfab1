#include "kernels/attention/attention.h"
#include "kernels/attention/bulk_forward.h"
#include "kernels/attention/dispatch.cuh"
#include "kernels/attention/pairs.cuh"
#include "kernels/attention/tile.cuh"

namespace orrery::kernels {
namespace attention {
namespace {

// Two blocks share a multiprocessor, and one computes while the other waits for its tiles. Warps
// own 16 kM query rows: with kM = 2 a fragment of k or v that was read from shared memory feeds two
// products, but the accumulators of d_v = 256 leave no registers for that.
template <class W>
struct ForwardTile : W {
  static constexpr int kM = W::kV > 128 ? 1 : 2;
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kRows = 16 * kM * kWarps, kKeys = 64;
  static constexpr int kQElements = kTileElements<kRows, W::kQk>;
  static constexpr int kKElements = kTileElements<kKeys, W::kQk>;
  static constexpr int kVElements = kTileElements<kKeys, W::kV>;
  static constexpr int kSharedBytes = 2 * (kQElements + kKElements + kVElements);
};

// What the online softmax knows of the rows that a thread shares with the three others of its quad:
// row [m][i] is 16 m + 8 i + lane / 4.
template <int kM>
struct Softmax {
  float max[kM][2];  // of the scores so far, unscaled
  float sum[kM][2];  // of exp(scale · (score - max)), this thread's columns only
};

// Turns scores s into exp(scale · (s - max)), and rescales what was summed under the old maximum.
template <int kM, int kN, int kWide>
__device__ void online_softmax(Softmax<kM>& state, float (&s)[kM][kN][4],
                               float (&out)[kM][kWide][4], float scale_log2) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float max = state.max[m][i];
#pragma unroll
      for (int n = 0; n < kN; ++n) max = fmaxf(max, fmaxf(s[m][n][2 * i], s[m][n][2 * i + 1]));
      max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 1));
      max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 2));
      const float shift = max * scale_log2;
      const float rescale = exp2_approx(state.max[m][i] * scale_log2 - shift);
      state.max[m][i] = max;
      float sum = state.sum[m][i] * rescale;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int j = 2 * i; j < 2 * i + 2; ++j) {
          s[m][n][j] = exp2_approx(s[m][n][j] * scale_log2 - shift);
          sum += s[m][n][j];
        }
      }
      state.sum[m][i] = sum;
#pragma unroll
      for (int n = 0; n < kWide; ++n) {
        out[m][n][2 * i] *= rescale;
        out[m][n][2 * i + 1] *= rescale;
      }
    }
  }
}

// Scores of keys that the query does not see become -infinity. s[m][n]: query row + 16 m, key +
// 8 n. Queries that see none are given the keys of those that do: what they get is not kept.
template <int kM, int kN>
__device__ void mask(float (&s)[kM][kN][4], const Pairs& pairs, int row, int key) {
  const int last = pairs.causal ? row : pairs.keys - 1, per_row = pairs.causal ? 1 : 0;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (key + 8 * n + i % 2 > last + per_row * (16 * m + 8 * (i / 2))) s[m][n][i] = -INFINITY;
    }
  }
}

// A block per (sequence, query head, query tile), long tiles first.
template <class W>
__global__ void __launch_bounds__(ForwardTile<W>::kThreads, 2)
    forward_kernel(AttentionForwardParams p) {
  using Tile = ForwardTile<W>;
  constexpr int kM = Tile::kM, kRows = Tile::kRows, kKeys = Tile::kKeys;
  constexpr int kThreads = Tile::kThreads;
  extern __shared__ uint4 shared[];
  bf16* q_tile = reinterpret_cast<bf16*>(shared);
  bf16* k_tile = q_tile + Tile::kQElements;
  bf16* v_tile = k_tile + Tile::kKElements;

  const AttentionShape& s = p.shape;
  const int seq = static_cast<int>(s.seq);
  const int tiles = (seq + kRows - 1) / kRows;
  const int tile = tiles - 1 - static_cast<int>(blockIdx.x) % tiles;
  const int64_t head = static_cast<int>(blockIdx.x) / tiles % static_cast<int>(s.heads);
  const int64_t kv_head = head / s.group();
  const int64_t token = static_cast<int>(blockIdx.x) / tiles / static_cast<int>(s.heads) * s.seq;
  const int d_qk = static_cast<int>(s.d_qk), d_v = static_cast<int>(s.d_v);
  const Head<const bf16> q{p.q + token * p.ldq + head * d_qk, p.ldq, d_qk};
  const Head<const bf16> k{p.k + token * p.ldk + kv_head * d_qk, p.ldk, d_qk};
  const Head<const bf16> v{p.v + token * p.ldv + kv_head * d_v, p.ldv, d_v};

  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int first = tile * kRows, warp_first = first + warp * 16 * kM;
  bf16* warp_q = q_tile + warp * 16 * kM * kTileStride<W::kQk>;
  const float scale_log2 = p.scale * kLog2E;
  float o[kM][W::kV / 8][4];
  set_zero(o);
  Softmax<kM> state;
#pragma unroll
  for (int m = 0; m < kM; ++m)
    state.max[m][0] = state.max[m][1] = -INFINITY, state.sum[m][0] = state.sum[m][1] = 0;

  load_tile<kThreads, kRows, W::kQk>(q_tile, q, first, seq);
  load_tile<kThreads, kKeys, W::kQk>(k_tile, k, 0, seq);
  cp_async_commit();
  // Key 0 is never masked, so that no maximum is -infinity after the first tile.
  const Pairs pairs(s);
  const int keys = max(1, pairs.key_end(min(first + kRows, seq)));
  for (int key = 0; key < keys; key += kKeys) {
    cp_async_wait();
    __syncthreads();  // k is here, and the last reads of v are done
    load_tile<kThreads, kKeys, W::kV>(v_tile, v, key, seq);
    cp_async_commit();
    float scores[kM][kKeys / 8][4];
    set_zero(scores);
    multiply_transposed<kM, kKeys / 8, W::kQk>(scores, warp_q, k_tile);
    if (pairs.some_hidden(warp_first, key, kKeys))
      mask(scores, pairs, warp_first + lane / 4, key + lane % 4 * 2);
    cp_async_wait();
    __syncthreads();  // v is here, and the last reads of k are done
    if (key + kKeys < keys) {
      load_tile<kThreads, kKeys, W::kQk>(k_tile, k, key + kKeys, seq);
      cp_async_commit();
    }
    online_softmax(state, scores, o, scale_log2);
    multiply(o, scores, v_tile);
  }

  float inverse[kM][2];
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float sum = state.sum[m][i];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const int row = warp_first + 16 * m + 8 * i + lane / 4;
      const bool sees = row >= pairs.first_query;
      inverse[m][i] = sees ? 1 / sum : 0;
      if (lane % 4 == 0 && row < seq)
        p.lse[(token + row) * s.heads + head] =
            sees ? state.max[m][i] * p.scale + logf(sum) : -INFINITY;
    }
  }
  const Head<bf16> out{p.out + token * p.ldo + head * d_v, p.ldo, d_v};
  // A warp reads only its own rows of q, and no longer needs them.
  store_rows(out, warp_first, seq, o, inverse, warp_q);
}

}  // namespace
}  // namespace attention

Status attention_forward(const AttentionForwardParams& p, cudaStream_t stream) {
  constexpr const char* kName = "attention_forward";
  const AttentionShape& s = p.shape;
  if (Status bad = attention::check_shape(kName, s, p.scale); !bad.ok()) return bad;
  if (s.tokens() == 0) return {};
  if (Status bad = attention::check_operands(kName, {{"q", p.q, p.ldq, s.heads * s.d_qk},
                                                     {"k", p.k, p.ldk, s.kv_heads * s.d_qk},
                                                     {"v", p.v, p.ldv, s.kv_heads * s.d_v},
                                                     {"out", p.out, p.ldo, s.heads * s.d_v}});
      !bad.ok())
    return bad;
  if (p.lse == nullptr) return failed("attention_forward: lse is null");
  if (attention::bulk_forward_takes(s)) return attention::bulk_forward(p, stream);
  return attention::with_widths(s, [&]<class W>(W) {
    using Tile = attention::ForwardTile<W>;
    return attention::launch_tiles(kName, attention::forward_kernel<W>,
                                   ceil_div(s.seq, Tile::kRows) * s.heads * s.batch, Tile::kThreads,
                                   Tile::kSharedBytes, p, stream);
  });
}

}  // namespace orrery::kernels
