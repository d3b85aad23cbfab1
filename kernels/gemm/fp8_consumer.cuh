// The warpgroups of the FP8 GEMM kernel that multiply.
//
// e4m3 products are summed over no more than 128 of K in the tensor cores, whose sums keep fewer
// bits than a float, and then scaled and added in FP32.
#pragma once

#include "kernels/gemm/fp8_traits.cuh"
#include "kernels/gemm/tile_epilogue.cuh"

namespace orrery::kernels::fp8_kernel {

__device__ inline float load_shared(uint32_t address) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(address) : "memory");
  return x;
}
__device__ inline float2 load_shared2(uint32_t address) {
  float2 x;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(address) : "memory");
  return x;
}
__device__ inline int4 load_shared4(uint32_t address) {
  int4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}
__device__ inline void store_shared_zeros(uint32_t address) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(address), "r"(0) : "memory");
}

template <class T>
class Consumer {
  using Ring = RingPosition<T::kStages>;
  using Values = float[T::kValues];

 public:
  __device__ Consumer(const Params& p, Shared<T> shared)
      : p_(p),
        shared_(shared),
        group_(__shfl_sync(0xffffffffu, (threadIdx.x - kProducerThreads) / 128, 0)),
        row_(threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4) {}

  __device__ void run() {
    while (true) {
      barrier_wait(shared_.full(at_.stage), at_.parity);
      const int4 first = load_shared4(shared_.step(at_.stage));
      const int steps = __shfl_sync(0xffffffffu, first.z, 0);
      if (steps == 0) break;
      const int4 where = load_shared4(shared_.step(at_.stage) + 16);
      k_tail_ = first.w;
      a_shift_ = where.x % 4;
      Values sums[T::kWaves];
#pragma unroll
      for (int w = 0; w < T::kWaves; ++w)
#pragma unroll
        for (float& x : sums[w]) x = 0;
      multiply(sums, steps);
      store(sums, where);
    }
  }

 private:
  // Of this warpgroup's rows of the tile.
  __device__ int first_row(int wave) const { return (group_ * T::kWaves + wave) * 64; }

  // Of this thread's rows r and r + 8; of kFp8Block times the scale of B.
  __device__ float2 scales(int stage, int wave) const {
    const uint32_t of_rows = shared_.a_scales(stage) + (a_shift_ + first_row(wave) + row_) * 4;
    const float2 a = make_float2(load_shared(of_rows), load_shared(of_rows + 32));
    if constexpr (!T::kBlockScales) return a;
    const float b = load_shared(shared_.step(stage));
    return make_float2(a.x * b, a.y * b);
  }

  // product = 64 rows of A times B, of one step; does not wait for it.
  __device__ void start(Values& product, int stage, int wave) const {
    constexpr uint64_t kStep = 32 >> 4;  // 32 bytes of K, in the descriptor's units
    const uint64_t a = matrix_descriptor(shared_.a(stage) + first_row(wave) * kAtomRowBytes, 0);
    const uint64_t b = matrix_descriptor(shared_.b(stage), 0);
    keep_in_place(product);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < 4; ++i) wgmma_e4m3(product, a + i * kStep, b + i * kStep, i > 0);
    wgmma_commit();
  }

  __device__ void add(Values& sums, Values& product, const float2& of_rows, int stage) const {
    keep_in_place(product);
    const uint32_t of_cols = shared_.b_scales(stage) + threadIdx.x % 4 * 8;  // kFp8Tiles
#pragma unroll
    for (int j = 0; j < T::kValues / 4; ++j) {
      const float2 b = T::kBlockScales ? make_float2(1, 1) : load_shared2(of_cols + j * 32);
      sums[4 * j] = fmaf(product[4 * j], of_rows.x * b.x, sums[4 * j]);
      sums[4 * j + 1] = fmaf(product[4 * j + 1], of_rows.x * b.y, sums[4 * j + 1]);
      sums[4 * j + 2] = fmaf(product[4 * j + 2], of_rows.y * b.x, sums[4 * j + 2]);
      sums[4 * j + 3] = fmaf(product[4 * j + 3], of_rows.y * b.y, sums[4 * j + 3]);
    }
  }

  // The stage may be refilled once every warp of every block that reads it has said so.
  __device__ void release(int stage) const {
    __syncwarp();
    const int lane = threadIdx.x % 32;
    if constexpr (T::kBlocks == 1) {
      if (lane == 0) barrier_arrive(shared_.empty(stage));
    } else {
      if (lane < T::kBlocks) barrier_arrive_at(shared_.empty(stage), lane);
    }
  }

  // Step by step through the ring, from the stage at hand on. Each stage has code of its own, whose
  // addresses are constants.
  __device__ void multiply(Values (&sums)[T::kWaves], int steps) {
    Values product = {};
    int entry = at_.stage;
    while (true) {
#pragma unroll
      for (int stage = 0; stage < T::kStages; ++stage) {
        if (stage < entry) continue;
        barrier_wait(shared_.full(stage), at_.parity);
        if constexpr (!T::kBlockScales)
          if (steps == 1 && k_tail_ < kTile) clear_tail(stage);
        multiply_step(sums, product, stage);
        if (--steps > 0) continue;
        at_.stage = stage;
        at_.advance();
        return;
      }
      entry = 0;
      at_.parity ^= 1;
    }
  }

  // A wave is waited for before it is added: meanwhile those of the other warpgroups keep the
  // tensor cores busy.
  __device__ void multiply_step(Values (&sums)[T::kWaves], Values& product, int stage) const {
#pragma unroll
    for (int w = 0; w < T::kWaves; ++w) {
      const float2 s = scales(stage, w);
      start(product, stage, w);
      wgmma_wait<0>();
      if (T::kBlockScales && w == T::kWaves - 1) release(stage);
      add(sums[w], product, s, stage);
    }
    if (!T::kBlockScales) release(stage);
  }

  // Zeros instead of what follows a group's K; all consumers take part.
  __device__ void clear_tail(int stage) const {
    const int thread = threadIdx.x - kProducerThreads;
    constexpr int kChunks = kAtomRowBytes / 16;
    for (int i = thread; i < (T::kRows + T::kCols) * kChunks; i += T::kConsumers * 128) {
      const int row = i / kChunks, chunk = i % kChunks;
      const uint32_t at = shared_.a(stage) + swizzled(row, chunk);
      const int keep = k_tail_ - chunk * 16;
      if (keep <= 0) {
        store_shared_zeros(at);
      } else {
        for (int byte = keep; byte < 16; ++byte)
          asm volatile("st.shared.b8 [%0], %1;" ::"r"(at + byte), "r"(0) : "memory");
      }
    }
    fence_for_wgmma();
    asm volatile("bar.sync 1, %0;" ::"n"(T::kConsumers * 128) : "memory");
  }

  __device__ void store(const Values (&sums)[T::kWaves], const int4& where) const {
    const TileGemmParams& g = p_.gemm;
#pragma unroll
    for (int w = 0; w < T::kWaves; ++w) {
      const int row = where.x + first_row(w) + row_;
      if constexpr (T::kBlockScales)
        store_bf16<T::kCols>(sums[w], static_cast<__nv_bfloat16*>(g.c), g.ldc, row, where.y,
                             where.z, g.n);
      else
        store_float<T::kCols>(sums[w], static_cast<float*>(g.c) + where.w * g.c_group_stride, g.ldc,
                              row, where.y, where.z, g.n, g.accumulate);
    }
  }

  const Params& p_;
  Shared<T> shared_;
  int group_, row_;  // this warpgroup; this thread's first row of a wave
  int k_tail_ = 0, a_shift_ = 0;
  Ring at_;
};

}  // namespace orrery::kernels::fp8_kernel
