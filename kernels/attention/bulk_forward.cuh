// The kernel of bulk_forward.h: a block computes 128 queries of a head. One warp copies, two
// warpgroups have 64 queries each and walk the keys from the last that any of them sees to the
// first, multiplying a tile's scores while the tile before is weighted and added.
#pragma once

#include <cuda.h>

#include "kernels/attention/bulk_forward.h"
#include "kernels/attention/bulk_launch.h"
#include "kernels/attention/pairs.cuh"
#include "kernels/base/exp2.cuh"
#include "kernels/base/launch.h"
#include "kernels/gemm/bulk_copy.cuh"
#include "kernels/gemm/pipeline.cuh"
#include "kernels/gemm/tile_epilogue.cuh"
#include "kernels/gemm/wgmma.cuh"

namespace orrery::kernels::attention::bulk {

constexpr int kQueries = 128, kKeys = 128, kV = 128;  // of a tile; width of values
constexpr int kChunkBytes = 128 * kAtomRowBytes;      // of 128 rows
constexpr int kStages = 2;
constexpr int kProducerThreads = 128, kThreads = 384;
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;

struct Params {
  CUtensorMap q, k, v;
  AttentionShape shape;
  float scale;
  bf16* out;
  int64_t ldo;
  float* lse;
  int64_t heads_at_once;  // whose keys and values are to share the L2 cache
};

template <int kQk>
struct Shared {
  static constexpr int kQkChunks = kQk / kChunk, kVChunks = kV / kChunk;
  static constexpr int kQkBytes = kQkChunks * kChunkBytes, kVBytes = kVChunks * kChunkBytes;
  static constexpr int kBarriers = kQkBytes + kStages * (kQkBytes + kVBytes);
  static constexpr int kBytes = kSwizzleBytes + kBarriers + (1 + 4 * kStages) * 8;
  uint32_t base;
  __device__ uint32_t q() const { return base; }
  __device__ uint32_t k(int s) const { return base + kQkBytes + s * kQkBytes; }
  __device__ uint32_t v(int s) const { return k(kStages) + s * kVBytes; }
  __device__ uint32_t barrier(int i) const { return base + kBarriers + i * 8; }
  __device__ uint32_t q_full() const { return barrier(4 * kStages); }
  __device__ uint32_t k_full(int s) const { return barrier(s); }
  __device__ uint32_t v_full(int s) const { return barrier(kStages + s); }
  __device__ uint32_t k_empty(int s) const { return barrier(2 * kStages + s); }
  __device__ uint32_t v_empty(int s) const { return barrier(3 * kStages + s); }
};

struct Task {
  int tile, head, sequence;  // of queries
  int key_tiles;             // at least one: of queries that see no key nothing is kept
};

// Long tiles first, and heads in groups: all blocks that run at a time read the keys of few heads.
__device__ inline Task task(const Params& p) {
  const AttentionShape& s = p.shape;
  const int64_t tiles = (s.seq + kQueries - 1) / kQueries, heads = s.batch * s.heads;
  const int64_t group = blockIdx.x / (p.heads_at_once * tiles);
  const int64_t first = group * p.heads_at_once, count = min(p.heads_at_once, heads - first);
  const int64_t rest = blockIdx.x - first * tiles;
  const int64_t head = first + rest % count;
  const int tile = static_cast<int>(tiles - 1 - rest / count);
  const int keys = Pairs(s).key_end((tile + 1) * kQueries);
  return {tile, static_cast<int>(head % s.heads), static_cast<int>(head / s.heads),
          max(1, (keys + kKeys - 1) / kKeys)};
}

template <int kQk>
__device__ void copy(const Params& p, const Task& t, Shared<kQk> shared) {
  using S = Shared<kQk>;
  const int kv_head = t.head / static_cast<int>(p.shape.group());
  barrier_arrive_expecting(shared.q_full(), S::kQkBytes);
  for (int c = 0; c < S::kQkChunks; ++c)
    bulk_copy_3d(shared.q() + c * kChunkBytes, &p.q, t.sequence, t.tile * kQueries,
                 t.head * kQk + c * kChunk, shared.q_full());
  RingPosition<kStages> at;
  for (int tile = t.key_tiles - 1; tile >= 0; --tile) {
    barrier_wait(shared.k_empty(at.stage), at.parity ^ 1);
    barrier_arrive_expecting(shared.k_full(at.stage), S::kQkBytes);
    for (int c = 0; c < S::kQkChunks; ++c)
      bulk_copy_3d(shared.k(at.stage) + c * kChunkBytes, &p.k, t.sequence, tile * kKeys,
                   kv_head * kQk + c * kChunk, shared.k_full(at.stage));
    barrier_wait(shared.v_empty(at.stage), at.parity ^ 1);
    barrier_arrive_expecting(shared.v_full(at.stage), S::kVBytes);
    for (int c = 0; c < S::kVChunks; ++c)
      bulk_copy_3d(shared.v(at.stage) + c * kChunkBytes, &p.v, t.sequence, tile * kKeys,
                   kv_head * kV + c * kChunk, shared.v_full(at.stage));
    at.advance();
  }
}

template <int kQk>
class Consumer {
  using Values = float[kKeys / 2];  // of 64 queries, by this thread

 public:
  __device__ Consumer(const Params& p, const Task& t, Shared<kQk> shared)
      : p_(p),
        task_(t),
        shared_(shared),
        scale_log2_(p.scale * kLog2E),
        group_(static_cast<int>(threadIdx.x - kProducerThreads) / 128),
        row_(group_ * 64 + static_cast<int>(threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4)) {}

  __device__ void run() {
    Values scores, out;
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) scores[i] = out[i] = 0;
    if (group_ == 1) give_turn();
    barrier_wait(shared_.q_full(), 0);
    barrier_wait(shared_.k_full(0), 0);
    take_turn();
    start_scores(scores, 0);
    if (group_ == 0 || task_.key_tiles > 1) give_turn();
    wgmma_wait<0>();
    keep_in_place(scores);
    release(shared_.k_empty(0));
    mask(scores);
    float alpha[2];
    soften(scores, alpha);
    uint32_t weights[kKeys / 16][4];
    pack(scores, weights);
    RingPosition<kStages> now, next;
    next.advance();
#pragma unroll 1
    for (int tile = task_.key_tiles - 2; tile >= 0; --tile) {
      barrier_wait(shared_.k_full(next.stage), next.parity);
      barrier_wait(shared_.v_full(now.stage), now.parity);
      take_turn();
      start_scores(scores, next.stage);
      start_output(out, weights, now.stage);
      if (group_ == 0 || tile > 0) give_turn();
      wgmma_wait<1>();
      keep_in_place(scores);
      release(shared_.k_empty(next.stage));
      soften(scores, alpha);
      wgmma_wait<0>();
      keep_in_place(out);
      release(shared_.v_empty(now.stage));
#pragma unroll
      for (int i = 0; i < kKeys / 2; ++i) out[i] *= alpha[i / 2 % 2];
      keep_in_place(out);
      pack(scores, weights);
      now.advance();
      next.advance();
    }
    barrier_wait(shared_.v_full(now.stage), now.parity);
    start_output(out, weights, now.stage);
    wgmma_wait<0>();
    keep_in_place(out);
    store(out);
  }

 private:
  // One warpgroup's products run while the other computes exponentials: they start them in turns,
  // the first one first.
  __device__ void take_turn() const {
    if (group_ == 0)
      asm volatile("bar.sync 1, 256;" ::: "memory");
    else
      asm volatile("bar.sync 2, 256;" ::: "memory");
  }
  __device__ void give_turn() const {
    if (group_ == 0)
      asm volatile("bar.arrive 2, 256;" ::: "memory");
    else
      asm volatile("bar.arrive 1, 256;" ::: "memory");
  }

  __device__ static void release(uint32_t barrier) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(barrier);
  }

  __device__ void start_scores(Values& scores, int stage) const {
    const uint64_t q = matrix_descriptor(shared_.q() + group_ * 64 * kAtomRowBytes, 0);
    const uint64_t k = matrix_descriptor(shared_.k(stage), 0);
    keep_in_place(scores);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kQk / 16; ++i) {
      const uint64_t step = (i / 4 * kChunkBytes + i % 4 * 32) >> 4;
      wgmma_bf16(scores, q + step, k + step, i > 0);
    }
    wgmma_commit();
  }

  __device__ void start_output(Values& out, const uint32_t (&weights)[kKeys / 16][4],
                               int stage) const {
    const uint64_t v = matrix_descriptor(shared_.v(stage), kChunkBytes);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i)
      wgmma_bf16_registers(out, weights[i], v + i * (16 * kAtomRowBytes >> 4));
    wgmma_commit();
  }

  // Keys that the query does not see, in the last tile.
  __device__ void mask(Values& scores) const {
    const Pairs pairs(p_.shape);
    const int last = pairs.causal ? row_ : pairs.keys - 1 - (task_.key_tiles - 1) * kKeys;
    const int second_row = pairs.causal ? 8 : 0, col = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i)
      if (col + i / 4 * 8 + i % 2 > last + (i / 2 % 2 == 0 ? 0 : second_row)) scores[i] = -INFINITY;
  }

  // scores := exp(scale · (scores - the row's largest so far)); alpha: what turns values relative
  // to the largest before into such.
  __device__ void soften(Values& scores, float (&alpha)[2]) {
    float largest[2] = {max_[0], max_[1]};
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) largest[i / 2 % 2] = fmaxf(largest[i / 2 % 2], scores[i]);
    float shift[2], sum[2] = {};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      largest[h] = fmaxf(largest[h], __shfl_xor_sync(0xffffffffu, largest[h], 1));
      largest[h] = fmaxf(largest[h], __shfl_xor_sync(0xffffffffu, largest[h], 2));
      alpha[h] = exp2_approx((max_[h] - largest[h]) * scale_log2_);
      max_[h] = largest[h];
      shift[h] = largest[h] * scale_log2_;
    }
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      const int h = i / 2 % 2;
      scores[i] = exp2_approx(fmaf(scores[i], scale_log2_, -shift[h]));
      sum[h] += scores[i];
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) sum_[h] = fmaf(sum_[h], alpha[h], sum[h]);
  }

  __device__ static void pack(const Values& x, uint32_t (&to)[kKeys / 16][4]) {
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) to[i][j] = pack_bf16x2(x[8 * i + 2 * j], x[8 * i + 2 * j + 1]);
  }

  __device__ void store(Values& out) const {
    const AttentionShape& s = p_.shape;
    const int64_t token = task_.sequence * s.seq;
    const int row = task_.tile * kQueries + row_, end = static_cast<int>(s.seq);
    float inverse[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = sum_[h];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const bool sees = row + 8 * h >= Pairs(s).first_query;
      inverse[h] = sees ? 1 / sum : 0;
      if (threadIdx.x % 4 == 0 && row + 8 * h < end)
        p_.lse[(token + row + 8 * h) * s.heads + task_.head] =
            sees ? max_[h] * p_.scale + logf(sum) : -INFINITY;
    }
#pragma unroll
    for (int i = 0; i < kV / 2; ++i) out[i] *= inverse[i / 2 % 2];
    store_bf16<kV>(out, p_.out + token * p_.ldo + task_.head * kV, p_.ldo, row, end, 0, kV);
  }

  const Params& p_;
  const Task task_;
  Shared<kQk> shared_;
  float scale_log2_;
  int group_, row_;
  float max_[2] = {-INFINITY, -INFINITY}, sum_[2] = {};
};

template <int kQk>
__global__ __launch_bounds__(kThreads,
                             1) void bulk_forward_kernel(const __grid_constant__ Params p) {
  extern __shared__ unsigned char raw[];
  const uint32_t address = shared_address(raw);
  const Shared<kQk> shared{(address + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes};
  if (threadIdx.x == 0) {
    barrier_init(shared.q_full(), 1);
    for (int s = 0; s < kStages; ++s) {
      barrier_init(shared.k_full(s), 1);
      barrier_init(shared.v_full(s), 1);
      barrier_init(shared.k_empty(s), 8);  // warps that multiply
      barrier_init(shared.v_empty(s), 8);
    }
    fence_barrier_init();
  }
  __syncthreads();
  const Task t = task(p);
  if (threadIdx.x < kProducerThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProducerRegisters));
    if (threadIdx.x == 0) copy<kQk>(p, t, shared);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    Consumer<kQk>(p, t, shared).run();
  }
}

template <int kQk>
Status launch(const Params& p, cudaStream_t stream) {
  const cudaError_t e = cudaFuncSetAttribute(
      bulk_forward_kernel<kQk>, cudaFuncAttributeMaxDynamicSharedMemorySize, Shared<kQk>::kBytes);
  if (e != cudaSuccess)
    return failed(std::string("attention_forward: ").append(cudaGetErrorString(e)));
  const AttentionShape& s = p.shape;
  const int64_t blocks = ceil_div(s.seq, kQueries) * s.heads * s.batch;
  bulk_forward_kernel<kQk>
      <<<static_cast<unsigned>(blocks), kThreads, Shared<kQk>::kBytes, stream>>>(p);
  return launched("attention_forward");
}

}  // namespace orrery::kernels::attention::bulk
