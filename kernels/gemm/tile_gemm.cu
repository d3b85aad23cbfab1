#include <algorithm>

#include "kernels/base/launch.h"
#include "kernels/base/types.h"
#include "kernels/gemm/tile_copy.cuh"
#include "kernels/gemm/tile_epilogue.cuh"
#include "kernels/gemm/tile_gemm.h"
#include "kernels/gemm/tile_schedule.cuh"

namespace orrery::kernels {
namespace {

constexpr int kConsumers = 2;  // warpgroups, of 64 rows of the tile each
constexpr int kThreads = kCopyThreads + kConsumers * 128;
// Registers of a thread: 65536 / 384 at first; the copying warpgroup gives most of its own away.
constexpr int kCopyRegisters = 72, kConsumerRegisters = 216;

template <TileKind kKind>
struct Traits {
  static constexpr bool kBlockScales = kKind == TileKind::kFp8Block;  // of B
  static constexpr int kDepth = kAtomRowBytes;                        // K of a step, and of a scale
  static constexpr int kRows = 64 * kConsumers;
  static constexpr int kCols = kTile;  // with one block of scales of B for the tile
  using ACopy = ContiguousCopy<kRows>;
  using BCopy = ContiguousCopy<kCols>;

  // Shared memory: stages of A, B, the scales of A and of B; barriers.
  static constexpr int kStages = 6;
  static constexpr int kBOffset = kRows * kAtomRowBytes;
  static constexpr int kAScales = kBOffset + kCols * kAtomRowBytes;
  static constexpr int kBScales = kAScales + kRows * 4;
  static constexpr int kStageBytes = kBScales + kCols * 4;
  static_assert(kStageBytes % kSwizzleBytes == 0 && kBOffset % kSwizzleBytes == 0);
  static constexpr int kBarriers = kStages * kStageBytes;
  static constexpr int kSharedBytes = kSwizzleBytes + kBarriers + 2 * kStages * 8;
};

struct Shared {
  uint32_t base;  // address of the first stage
  template <class T>
  __device__ uint32_t stage(int s) const {
    return base + s * T::kStageBytes;
  }
  template <class T>
  __device__ uint32_t full(int s) const {
    return base + T::kBarriers + s * 8;
  }
  template <class T>
  __device__ uint32_t empty(int s) const {
    return full<T>(T::kStages + s);
  }
};

template <class T>
__device__ void copy_tiles(const TileGemmParams& p,
                           const TileSchedule<T::kRows, T::kCols>& schedule, Shared shared) {
  RingPosition<T::kStages> at;
  Tile tile;
  typename T::ACopy a;
  typename T::BCopy b;
  ScaleCopy a_scales, b_scales;
  for (int index = blockIdx.x; schedule.get(index, &tile); index += gridDim.x) {
    const char* b_data = static_cast<const char*>(p.b.data) + tile.group * p.b.group_stride;
    a.start(p.a.data, p.a.ld, tile.row, tile.row_end, tile.k_begin, tile.k_end);
    b.start(b_data, p.b.ld, tile.col, p.n, tile.k_begin, tile.k_end);
    a_scales.start(p.a.scales, p.a.row_stride, p.a.tile_stride, tile.row, tile.row_end,
                   tile.k_begin / kTile);
    // One scale of a block: "row" 0 of the block of this tile's columns.
    const float* scales = p.b.scales + tile.group * p.b.group_scales;
    if constexpr (T::kBlockScales)
      b_scales.start(scales + tile.col / kTile * p.b.row_stride, 0, p.b.tile_stride, 0, 1,
                     tile.k_begin / kTile);
    else
      b_scales.start(scales, p.b.row_stride, p.b.tile_stride, tile.col, p.n, tile.k_begin / kTile);
#pragma unroll 1
    for (int k = tile.k_begin; k < tile.k_end; k += T::kDepth) {
      barrier_wait(shared.empty<T>(at.stage), at.parity ^ 1);
      const uint32_t stage = shared.stage<T>(at.stage);
      a.next(stage);
      b.next(stage + T::kBOffset);
      a_scales.next(stage + T::kAScales);
      b_scales.next(stage + T::kBScales);
      barrier_arrive_after_copies(shared.full<T>(at.stage));
      at.advance();
    }
  }
  wait_for_copies();
}

// product = this warpgroup's 64 rows of the stage, without waiting for it.
template <class T>
__device__ void multiply_stage(float (&product)[T::kCols / 2], uint32_t stage, int warpgroup) {
  constexpr uint64_t kStep = 32 >> 4;  // 32 bytes of K, in the descriptor's units
  const uint64_t a = matrix_descriptor(stage + warpgroup * 64 * kAtomRowBytes, 0);
  const uint64_t b = matrix_descriptor(stage + T::kBOffset, 0);
  wgmma_fence();
#pragma unroll
  for (int i = 0; i < 4; ++i) wgmma_e4m3(product, a + i * kStep, b + i * kStep, i > 0);
  wgmma_commit();
}

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

// d += the product of one stage times its scales: e4m3 products are summed over no more than 128 of
// K in the tensor cores, whose sums keep fewer bits than a float.
template <class T>
__device__ void add_scaled(float (&d)[T::kCols / 2], float (&product)[T::kCols / 2], uint32_t stage,
                           int row) {
  const float a[2] = {load_shared(stage + T::kAScales + row * 4),
                      load_shared(stage + T::kAScales + (row + 8) * 4)};
  float2 b[T::kCols / 8];
#pragma unroll
  for (int j = 0; j < T::kCols / 8; ++j) {
    if constexpr (T::kBlockScales) {
      if (j == 0) b[0].x = load_shared(stage + T::kBScales);
      b[j] = make_float2(b[0].x, b[0].x);
    } else {
      b[j] = load_shared2(stage + T::kBScales + (8 * j + 2 * (threadIdx.x % 4)) * 4);
    }
  }
  wgmma_wait<0>();
  keep_in_place(product);
#pragma unroll
  for (int i = 0; i < T::kCols / 2; ++i) {
    const float2 of_pair = b[i / 4];
    d[i] = fmaf(product[i], a[i / 2 % 2] * (i % 2 == 0 ? of_pair.x : of_pair.y), d[i]);
  }
}

template <class T>
__device__ void multiply_tile(float (&d)[T::kCols / 2], const Tile& tile, Shared shared,
                              RingPosition<T::kStages>& at, int warpgroup, int row) {
  float product[T::kCols / 2] = {};
#pragma unroll
  for (float& x : d) x = 0;
#pragma unroll 1
  for (int k = tile.k_begin; k < tile.k_end; k += T::kDepth) {
    barrier_wait(shared.full<T>(at.stage), at.parity);
    fence_for_wgmma();
    const uint32_t stage = shared.stage<T>(at.stage);
    multiply_stage<T>(product, stage, warpgroup);
    add_scaled<T>(d, product, stage, row);
    barrier_arrive(shared.empty<T>(at.stage));
    at.advance();
  }
}

template <class T>
__device__ void compute_tiles(const TileGemmParams& p,
                              const TileSchedule<T::kRows, T::kCols>& schedule, Shared shared) {
  const int thread = threadIdx.x - kCopyThreads;
  const int warpgroup = thread / 128, row = thread / 32 * 16 + thread % 32 / 4;  // of the tile
  RingPosition<T::kStages> at;
  Tile tile;
  for (int index = blockIdx.x; schedule.get(index, &tile); index += gridDim.x) {
    if (tile.k_begin >= tile.k_end) continue;  // an empty group
    float d[T::kCols / 2];
    multiply_tile<T>(d, tile, shared, at, warpgroup, row);
    if constexpr (!T::kBlockScales)
      store_float<T::kCols>(d, static_cast<float*>(p.c) + tile.group * p.c_group_stride, p.ldc,
                            tile.row + row, tile.row_end, tile.col, p.n, p.accumulate);
    else
      store_bf16<T::kCols>(d, static_cast<bf16*>(p.c), p.ldc, tile.row + row, tile.row_end,
                           tile.col, p.n);
  }
}

template <TileKind kKind>
__global__ __launch_bounds__(kThreads,
                             1) void tile_gemm_kernel(const __grid_constant__ TileGemmParams p) {
  using T = Traits<kKind>;
  extern __shared__ unsigned char raw[];
  const uint32_t address = shared_address(raw);
  const Shared shared{(address + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes};
  if (threadIdx.x == 0) {
    for (int s = 0; s < T::kStages; ++s) {
      barrier_init(shared.full<T>(s), kCopyThreads);
      barrier_init(shared.empty<T>(s), kConsumers * 128);
    }
  }
  __syncthreads();
  const TileSchedule<T::kRows, T::kCols> schedule(p);
  if (threadIdx.x < kCopyThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCopyRegisters));
    copy_tiles<T>(p, schedule, shared);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    compute_tiles<T>(p, schedule, shared);
  }
}

template <TileKind kKind>
Status launch(const char* name, const TileGemmParams& p, cudaStream_t stream) {
  using T = Traits<kKind>;
  int sms = 0;
  if (Status s = multiprocessors(name, p.sms, &sms); !s.ok()) return s;
  const cudaError_t e = cudaFuncSetAttribute(
      tile_gemm_kernel<kKind>, cudaFuncAttributeMaxDynamicSharedMemorySize, T::kSharedBytes);
  if (e != cudaSuccess) return failed(std::string(name).append(": ").append(cudaGetErrorString(e)));
  // Each group may end within a tile, or has tiles of its own.
  const bool by_rows = p.grouping == TileGrouping::kRows;
  const int64_t tiles = (ceil_div(p.m, T::kRows) + (by_rows ? p.groups : 0)) *
                        ceil_div(p.n, T::kCols) *
                        (p.grouping == TileGrouping::kDepth ? p.groups : 1);
  const int64_t blocks = std::min<int64_t>(sms, tiles);
  tile_gemm_kernel<kKind><<<static_cast<unsigned>(blocks), kThreads, T::kSharedBytes, stream>>>(p);
  return launched(name);
}

}  // namespace

Status tile_gemm(const char* name, TileKind kind, const TileGemmParams& p, cudaStream_t stream) {
  if (kind == TileKind::kFp8Block) return launch<TileKind::kFp8Block>(name, p, stream);
  if (kind == TileKind::kFp8Tiles) return launch<TileKind::kFp8Tiles>(name, p, stream);
  return failed(std::string(name).append(": unknown kind of tile"));
}

}  // namespace orrery::kernels
