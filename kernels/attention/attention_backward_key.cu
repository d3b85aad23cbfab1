#include "kernels/attention/backward.cuh"

namespace orrery::kernels::attention {
namespace {

// Warps own 16 key rows, and step through kQueries queries of a stage kStep at a time: scores and
// their gradients are computed transposed, [keys, queries], as the products with q and dout want
// them. q, dout and the rows' statistics are double-buffered.
template <class W>
struct KeyTile : W {
  static constexpr bool kWide = W::kQk + W::kV > 320;
  static constexpr int kWarps = kWide ? 4 : 8, kThreads = 32 * kWarps;
  static constexpr int kKeys = 16 * kWarps;
  static constexpr int kQueries = kWide ? 32 : 64, kStep = 32;
  static constexpr int kBlocks = W::kQk + W::kV > 128 ? 1 : 2;  // per multiprocessor
  static constexpr int kKElements = kTileElements<kKeys, W::kQk>;
  static constexpr int kVElements = kTileElements<kKeys, W::kV>;
  static constexpr int kQElements = kTileElements<kQueries, W::kQk>;
  static constexpr int kDoutElements = kTileElements<kQueries, W::kV>;
  static constexpr int kRowElements = kQueries * sizeof(QueryRow) / sizeof(bf16);
  static constexpr int kStageElements = kQElements + kDoutElements + kRowElements;
  static constexpr int kSharedBytes = 2 * (kKElements + kVElements + 2 * kStageElements);
};

// s = k·qᵀ becomes p. rows[8 n + j]: of query + 8 n + j. Hidden pairs get 0 when `masked`.
template <int kN>
__device__ void probabilities(float (&s)[1][kN][4], const QueryRow* rows, float scale_log2,
                              bool masked, const Pairs& pairs, int key, int query) {
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float p = exp2_approx(s[0][n][i] * scale_log2 - rows[8 * n + i % 2].lse_log2);
      const bool hidden = masked && pairs.hidden(query + 8 * n + i % 2, key + 8 * (i / 2));
      s[0][n][i] = hidden ? 0.f : p;
    }
  }
}

// Which of dk and dv a pass computes: wide heads leave no registers for both.
enum class Pass { kBoth, kKey, kValue };

// A block per (sequence, key head, key tile), long tiles first.
template <class W, Pass kPass>
__global__ void __launch_bounds__(KeyTile<W>::kThreads, KeyTile<W>::kBlocks)
    key_gradients_kernel(BackwardParams p) {
  using Tile = KeyTile<W>;
  constexpr int kKeys = Tile::kKeys, kQueries = Tile::kQueries, kStep = Tile::kStep;
  constexpr int kThreads = Tile::kThreads;
  constexpr bool kDk = kPass != Pass::kValue, kDv = kPass != Pass::kKey;
  extern __shared__ uint4 shared[];
  bf16* k_tile = reinterpret_cast<bf16*>(shared);
  bf16* v_tile = k_tile + Tile::kKElements;
  bf16* stages = v_tile + Tile::kVElements;

  const AttentionShape& s = p.shape;
  const int seq = static_cast<int>(s.seq), group = static_cast<int>(s.group());
  const int tiles = (seq + kKeys - 1) / kKeys;
  const int first = static_cast<int>(blockIdx.x) % tiles * kKeys;
  const int kv_head = static_cast<int>(blockIdx.x) / tiles % static_cast<int>(s.kv_heads);
  const int sequence = static_cast<int>(blockIdx.x) / tiles / static_cast<int>(s.kv_heads);
  const int64_t token = sequence * s.seq;
  // Step i: query tile i % query_tiles, from the first that sees a key on, of the group's head
  // i / query_tiles. Keys that none sees have a tile of zeros.
  const Pairs pairs(s);
  const int query_first = pairs.query_begin(first, seq) / kQueries * kQueries;
  const int query_tiles = max(1, (seq - query_first + kQueries - 1) / kQueries);
  const auto load_stage = [&](int i) {
    bf16* stage = stages + i % 2 * Tile::kStageElements;
    const int head = kv_head * group + i / query_tiles;
    const int query = query_first + i % query_tiles * kQueries;
    load_tile<kThreads, kQueries, W::kQk>(stage, query_head(p, token, head), query, seq);
    stage += Tile::kQElements;
    load_tile<kThreads, kQueries, W::kV>(stage, dout_head(p, token, head), query, seq);
    stage += Tile::kDoutElements;
    if (threadIdx.x < kQueries) {
      // Zeros from `seq` on: with q = dout = 0 such queries add nothing.
      const int row = query + static_cast<int>(threadIdx.x);
      const QueryRow* from = p.rows_of(sequence, head);
      cp_async<sizeof(QueryRow)>(shared_address(reinterpret_cast<QueryRow*>(stage) + threadIdx.x),
                                 from + (row < seq ? row : 0), row < seq);
    }
    cp_async_commit();
  };

  load_tile<kThreads, kKeys, W::kQk>(k_tile, key_head(p, token, kv_head), first, seq);
  load_tile<kThreads, kKeys, W::kV>(v_tile, value_head(p, token, kv_head), first, seq);
  load_stage(0);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_first = first + warp * 16;
  bf16* warp_k = k_tile + warp * 16 * kTileStride<W::kQk>;
  bf16* warp_v = v_tile + warp * 16 * kTileStride<W::kV>;
  const float scale_log2 = p.scale * kLog2E;
  float dk[1][kDk ? W::kQk / 8 : 1][4], dv[1][kDv ? W::kV / 8 : 1][4];
  set_zero(dk);
  set_zero(dv);

  const int steps = group * query_tiles;
  for (int i = 0; i < steps; ++i) {
    cp_async_wait();
    __syncthreads();  // this stage is here, and the last reads of the other one are done
    if (i + 1 < steps) load_stage(i + 1);
    const bf16* q_tile = stages + i % 2 * Tile::kStageElements;
    const bf16* dout_tile = q_tile + Tile::kQElements;
    const int query_tile = query_first + i % query_tiles * kQueries;
#pragma unroll 1
    for (int j = 0; j < kQueries; j += kStep) {
      const int query = query_tile + j;
      if (pairs.all_hidden(query + kStep, warp_first)) continue;
      const bf16* q = q_tile + j * kTileStride<W::kQk>;
      const bf16* dout = dout_tile + j * kTileStride<W::kV>;
      const QueryRow* rows =
          reinterpret_cast<const QueryRow*>(dout_tile + Tile::kDoutElements) + j + lane % 4 * 2;
      float prob[1][kStep / 8][4];
      set_zero(prob);
      multiply_transposed<1, kStep / 8, W::kQk>(prob, warp_k, q);
      probabilities(prob, rows, scale_log2, pairs.some_hidden(query, warp_first, 16), pairs,
                    warp_first + lane / 4, query + lane % 4 * 2);
      if constexpr (kDv) multiply(dv, prob, dout);
      if constexpr (kDk) {
        float ds[1][kStep / 8][4];  // dp, then ds
        set_zero(ds);
        multiply_transposed<1, kStep / 8, W::kV>(ds, warp_v, dout);
#pragma unroll
        for (int n = 0; n < kStep / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            ds[0][n][e] = prob[0][n][e] * (ds[0][n][e] - rows[8 * n + e % 2].delta);
        }
        multiply(dk, ds, q);
      }
    }
  }
  // A warp reads only its own rows of k and v, and no longer needs them.
  if constexpr (kDk) {
    const int d = static_cast<int>(s.d_qk);
    const Head<bf16> out{p.dk + token * p.lddk + kv_head * d, p.lddk, d};
    store_rows(out, warp_first, seq, dk, {{p.scale, p.scale}}, warp_k);
  }
  if constexpr (kDv) {
    const int d = static_cast<int>(s.d_v);
    const Head<bf16> out{p.dv + token * p.lddv + kv_head * d, p.lddv, d};
    store_rows(out, warp_first, seq, dv, {{1, 1}}, warp_v);
  }
}

template <class W, Pass kPass>
Status launch(const BackwardParams& p, cudaStream_t stream) {
  using Tile = KeyTile<W>;
  const int64_t blocks = ceil_div(p.shape.seq, Tile::kKeys) * p.shape.kv_heads * p.shape.batch;
  return launch_tiles("attention_backward", key_gradients_kernel<W, kPass>, blocks, Tile::kThreads,
                      Tile::kSharedBytes, p, stream);
}

}  // namespace

Status key_gradients(const BackwardParams& p, cudaStream_t stream) {
  return with_widths(p.shape, [&]<class W>(W) {
    if constexpr (KeyTile<W>::kWide) {
      if (Status bad = launch<W, Pass::kKey>(p, stream); !bad.ok()) return bad;
      return launch<W, Pass::kValue>(p, stream);
    } else {
      return launch<W, Pass::kBoth>(p, stream);
    }
  });
}

}  // namespace orrery::kernels::attention
