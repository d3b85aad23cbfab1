// What the blocks of bulk_backward.cuh own, and what is copied for them.
#pragma once

#include <cuda.h>

#include "kernels/attention/bulk_backward.h"
#include "kernels/attention/bulk_launch.h"
#include "kernels/gemm/bulk_copy.cuh"
#include "kernels/gemm/pipeline.cuh"
#include "kernels/gemm/wgmma.cuh"

namespace orrery::kernels::attention::bulk_back {

constexpr int kOwned = 128,
              kWalked = kRowGroup;  // rows of a block, and of what it walks over at a time
constexpr int kV = 128;             // width of values
constexpr int kOwnedChunk = kOwned * kAtomRowBytes, kWalkedChunk = kWalked * kAtomRowBytes;
constexpr int kStages = 3;
constexpr int kProducerThreads = 128, kThreads = 384;
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;

enum class Owner { kKeys, kQueries };

struct Params {
  // Of 128 rows where the block owns them, of 64 where it walks over them.
  CUtensorMap owned_qk, owned_v, walked_qk, walked_v;
  BackwardParams p;
  int64_t heads_at_once;  // whose operands are to share the L2 cache
};

template <int kQk>
struct Shared {
  static constexpr int kQkChunks = kQk / kChunk, kVChunks = kV / kChunk;
  static constexpr int kOwnedQk = kQkChunks * kOwnedChunk, kOwnedV = kVChunks * kOwnedChunk;
  static constexpr int kWalkedQk = kQkChunks * kWalkedChunk, kWalkedV = kVChunks * kWalkedChunk;
  static constexpr int kStage = kWalkedQk + kWalkedV;
  static constexpr int kRows = kOwnedQk + kOwnedV + kStages * kStage;
  static constexpr int kRowBytes = kWalked * static_cast<int>(sizeof(QueryRow));
  static constexpr int kBarriers = kRows + kStages * kRowBytes;
  static constexpr int kBytes = kSwizzleBytes + kBarriers + (1 + 2 * kStages) * 8;
  uint32_t base;
  unsigned char* memory;  // at base
  __device__ uint32_t owned_qk() const { return base; }
  __device__ uint32_t owned_v() const { return base + kOwnedQk; }
  __device__ uint32_t walked_qk(int s) const { return base + kOwnedQk + kOwnedV + s * kStage; }
  __device__ uint32_t walked_v(int s) const { return walked_qk(s) + kWalkedQk; }
  __device__ QueryRow* rows(int s) const {
    return reinterpret_cast<QueryRow*>(memory + kRows + s * kRowBytes);
  }
  __device__ uint32_t owned_full() const { return base + kBarriers; }
  __device__ uint32_t full(int s) const { return base + kBarriers + 8 * (1 + s); }
  __device__ uint32_t empty(int s) const { return base + kBarriers + 8 * (1 + kStages + s); }
};

// What a block does: rows [first, first + kOwned) of `head` (a key head, or a query head), walking
// over tiles [begin, begin + count) of each of `walks` heads from walked_head on.
struct Task {
  int sequence, head, first;
  int walked_head, walks, begin, count;
};

// Long tasks first, and heads in groups: blocks that run at a time read the operands of few heads.
template <Owner kOwner>
__device__ Task task(const Params& params) {
  const AttentionShape& s = params.p.shape;
  const int64_t of_sequence = kOwner == Owner::kKeys ? s.kv_heads : s.heads;
  const int64_t tiles = (s.seq + kOwned - 1) / kOwned, heads = s.batch * of_sequence;
  const int64_t group = blockIdx.x / (params.heads_at_once * tiles);
  const int64_t begin = group * params.heads_at_once;
  const int64_t count = min(params.heads_at_once, heads - begin);
  const int64_t rest = blockIdx.x - begin * tiles;
  const int64_t head = begin + rest % count, tile = rest / count;
  const int walked = static_cast<int>((s.seq + kWalked - 1) / kWalked);
  const Pairs pairs(s);
  Task t;
  t.sequence = static_cast<int>(head / of_sequence);
  t.head = static_cast<int>(head % of_sequence);
  if constexpr (kOwner == Owner::kKeys) {
    t.first = static_cast<int>(tile) * kOwned;
    t.walks = static_cast<int>(s.group()), t.walked_head = t.head * t.walks;
    t.begin = pairs.query_begin(t.first, static_cast<int>(s.seq)) / kWalked;
    t.count = walked - t.begin;
  } else {
    t.first = static_cast<int>(tiles - 1 - tile) * kOwned;
    t.walks = 1, t.walked_head = t.head / static_cast<int>(s.group());
    t.begin = 0;
    t.count = min(walked, (pairs.key_end(t.first + kOwned) + kWalked - 1) / kWalked);
  }
  return t;
}

// By a thread.
template <int kQk, Owner kOwner>
__device__ void copy(const Params& params, const Task& t, const Shared<kQk>& shared) {
  using S = Shared<kQk>;
  barrier_arrive_expecting(shared.owned_full(), S::kOwnedQk + S::kOwnedV);
  for (int c = 0; c < S::kQkChunks; ++c)
    bulk_copy_3d(shared.owned_qk() + c * kOwnedChunk, &params.owned_qk, t.sequence, t.first,
                 t.head * kQk + c * kChunk, shared.owned_full());
  for (int c = 0; c < S::kVChunks; ++c)
    bulk_copy_3d(shared.owned_v() + c * kOwnedChunk, &params.owned_v, t.sequence, t.first,
                 t.head * kV + c * kChunk, shared.owned_full());
  constexpr bool kKeys = kOwner == Owner::kKeys;
  constexpr int kArriving = S::kStage + (kKeys ? S::kRowBytes : 0);  // bytes of a stage
  RingPosition<kStages> at;
  for (int walk = 0; walk < t.walks; ++walk) {
    const int head = t.walked_head + walk;
    for (int i = 0; i < t.count; ++i) {
      const int row = (t.begin + i) * kWalked;
      barrier_wait(shared.empty(at.stage), at.parity ^ 1);
      const uint32_t full = shared.full(at.stage);
      barrier_arrive_expecting(full, kArriving);
      if constexpr (kKeys)
        bulk_copy_bytes(shared_address(shared.rows(at.stage)),
                        params.p.rows_of(t.sequence, head) + row, S::kRowBytes, full);
      for (int c = 0; c < S::kQkChunks; ++c)
        bulk_copy_3d(shared.walked_qk(at.stage) + c * kWalkedChunk, &params.walked_qk, t.sequence,
                     row, head * kQk + c * kChunk, full);
      for (int c = 0; c < S::kVChunks; ++c)
        bulk_copy_3d(shared.walked_v(at.stage) + c * kWalkedChunk, &params.walked_v, t.sequence,
                     row, head * kV + c * kChunk, full);
      at.advance();
    }
  }
}

}  // namespace orrery::kernels::attention::bulk_back
