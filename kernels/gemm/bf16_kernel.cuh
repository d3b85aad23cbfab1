// The BF16 GEMM kernel of one layout and one width of tiles; instantiated in bf16_*.cu.
//
// One warp copies, two warpgroups multiply 64 rows of the tile each. A persistent block computes
// tile after tile.
#pragma once

#include <algorithm>

#include "kernels/base/launch.h"
#include "kernels/gemm/bf16_traits.cuh"
#include "kernels/gemm/tile_epilogue.cuh"
#include "kernels/gemm/tile_schedule.cuh"

namespace orrery::kernels::bf16_kernel {

// Starts the copies of 64 of K from k on.
template <class T>
__device__ void copy_step(const Params& p, Shared<T> shared, int stage, const Tile& tile, int k) {
  const uint32_t full = shared.full(stage);
  barrier_arrive_expecting(full, T::kStageBytes);
  if constexpr (T::kAStrided) {
#pragma unroll
    for (int i = 0; i < T::kRows / kAtomCols; ++i)
      bulk_copy_3d(shared.a(stage) + i * kAtomBytes, &p.a, 0, k, tile.row + i * kAtomCols, full);
  } else {
    bulk_copy_3d(shared.a(stage), &p.a, 0, tile.row, k, full);
  }
  const int matrix = p.gemm.grouping == TileGrouping::kRows ? tile.group : 0;
  if constexpr (T::kBStrided) {
#pragma unroll
    for (int i = 0; i < T::kCols / kAtomCols; ++i)
      bulk_copy_3d(shared.b(stage) + i * kAtomBytes, &p.b, matrix, k, tile.col + i * kAtomCols,
                   full);
  } else {
    bulk_copy_3d(shared.b(stage), &p.b, matrix, tile.col, k, full);
  }
}

// By one warp.
template <class T>
__device__ void copy_tiles(const Params& p, Shared<T> shared) {
  const TileSchedule<T::kRows, T::kCols> schedule(p.gemm);
  RingPosition<T::kStages> at;
  Tile tile;
  for (int index = blockIdx.x; schedule.get(index, &tile); index += gridDim.x) {
#pragma unroll 1
    for (int k = tile.k_begin; k < tile.k_end; k += kStepDepth) {
      if (threadIdx.x == 0) {
        barrier_wait(shared.empty(at.stage), at.parity ^ 1);
        copy_step<T>(p, shared, at.stage, tile, k);
      }
      at.advance();
    }
    __syncwarp();
  }
}

// d (+)= this warpgroup's 64 rows of the stage, without waiting for it.
template <class T>
__device__ void multiply_step(float (&d)[T::kCols / 2], Shared<T> shared, int stage, int warpgroup,
                              bool accumulate) {
  // From 16 of K to the next 16, in the descriptor's units.
  constexpr uint64_t kAStep = (T::kAStrided ? 16 * kAtomRowBytes : 32) >> 4;
  constexpr uint64_t kBStep = (T::kBStrided ? 16 * kAtomRowBytes : 32) >> 4;
  // 64 rows of contiguous K are as large as an atom of strided K.
  const uint64_t a = matrix_descriptor(shared.a(stage) + warpgroup * kAtomBytes, kAtomBytes);
  const uint64_t b = matrix_descriptor(shared.b(stage), kAtomBytes);
  wgmma_fence();
#pragma unroll
  for (int i = 0; i < kStepDepth / 16; ++i)
    wgmma_bf16<T::kAStrided, T::kBStrided>(d, a + i * kAStep, b + i * kBStep, accumulate || i > 0);
  wgmma_commit();
}

// Zeros instead of what follows a group's last `keep` rows of K; both warpgroups take part.
template <class T>
__device__ void clear_tail(Shared<T> shared, int stage, int keep) {
  constexpr int kChunks = (T::kRows + T::kCols) / kAtomCols * 8;  // of one k; B follows A
  const int thread = static_cast<int>(threadIdx.x) - kProducerThreads;
  for (int i = thread; i < (kStepDepth - keep) * kChunks; i += kConsumers * 128) {
    const uint32_t at = shared.a(stage) + i % kChunks / 8 * kAtomBytes +
                        (keep + i / kChunks) * kAtomRowBytes + i % 8 * 16;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
  }
  fence_for_wgmma();
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers * 128) : "memory");
}

// The stage may be refilled once every warp has said so.
template <class T>
__device__ void release(Shared<T> shared, int stage) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) barrier_arrive(shared.empty(stage));
}

template <class T>
__device__ void multiply_tile(float (&d)[T::kCols / 2], const Tile& tile, Shared<T> shared,
                              RingPosition<T::kStages>& at, int warpgroup) {
  int previous = 0;
#pragma unroll 1
  for (int k = tile.k_begin; k < tile.k_end; k += kStepDepth) {
    barrier_wait(shared.full(at.stage), at.parity);
    if constexpr (T::kAStrided)
      if (tile.k_end - k < kStepDepth) clear_tail<T>(shared, at.stage, tile.k_end - k);
    multiply_step<T>(d, shared, at.stage, warpgroup, k > tile.k_begin);
    wgmma_wait<1>();  // for the previous step; this one runs on
    if (k > tile.k_begin) release<T>(shared, previous);
    previous = at.stage;
    at.advance();
  }
  wgmma_wait<0>();
  keep_in_place(d);
  release<T>(shared, previous);
}

template <class T>
__device__ void multiply_tiles(const Params& p, Shared<T> shared) {
  const int thread = static_cast<int>(threadIdx.x) - kProducerThreads;
  const int warpgroup = thread / 128, row = thread / 32 * 16 + thread % 32 / 4;  // of the tile
  const TileGemmParams& g = p.gemm;
  const TileSchedule<T::kRows, T::kCols> schedule(g);
  RingPosition<T::kStages> at;
  Tile tile;
  for (int index = blockIdx.x; schedule.get(index, &tile); index += gridDim.x) {
    if (tile.k_begin >= tile.k_end) continue;  // an empty group
    float d[T::kCols / 2];
    multiply_tile<T>(d, tile, shared, at, warpgroup);
    if constexpr (T::kAddsFloat) {
      store_float<T::kCols>(d, static_cast<float*>(g.c) + tile.group * g.c_group_stride, g.ldc,
                            tile.row + row, tile.row_end, tile.col, g.n, g.accumulate);
    } else {
      store_bf16<T::kCols>(d, static_cast<bf16*>(g.c), g.ldc, tile.row + row, tile.row_end,
                           tile.col, g.n);
    }
  }
}

template <class T>
__global__ __launch_bounds__(kThreads, 1) void bf16_gemm_kernel(const __grid_constant__ Params p) {
  extern __shared__ unsigned char raw[];
  const uint32_t address = shared_address(raw);
  const Shared<T> shared{(address + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes};
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&p.a);
    prefetch_tensor_map(&p.b);
    for (int s = 0; s < T::kStages; ++s) {
      barrier_init(shared.full(s), 1);
      barrier_init(shared.empty(s), kConsumers * 4);
    }
    fence_barrier_init();
  }
  __syncthreads();
  if (threadIdx.x < kProducerThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProducerRegisters));
    if (threadIdx.x < 32) copy_tiles<T>(p, shared);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    multiply_tiles<T>(p, shared);
  }
}

template <class T>
Status launch(const char* name, const Params& p, int sms, cudaStream_t stream) {
  const cudaError_t e = cudaFuncSetAttribute(
      bf16_gemm_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, T::kSharedBytes);
  if (e != cudaSuccess) return failed(std::string(name).append(": ").append(cudaGetErrorString(e)));
  const TileGemmParams& g = p.gemm;
  // Each group may end within a tile, or has tiles of its own.
  const bool by_rows = g.grouping == TileGrouping::kRows;
  const int64_t tiles = (ceil_div(g.m, T::kRows) + (by_rows ? g.groups : 0)) *
                        ceil_div(g.n, T::kCols) *
                        (g.grouping == TileGrouping::kDepth ? g.groups : 1);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(sms, tiles));
  bf16_gemm_kernel<T><<<blocks, kThreads, T::kSharedBytes, stream>>>(p);
  return launched(name);
}

}  // namespace orrery::kernels::bf16_kernel
