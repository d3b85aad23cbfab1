// Sizes of the FP8 GEMM kernel and its shared memory, for one kind of scales and one tiling.
#pragma once

#include <cuda.h>

#include "kernels/base/types.h"
#include "kernels/gemm/bulk_copy.cuh"
#include "kernels/gemm/pipeline.cuh"
#include "kernels/gemm/tile_gemm.h"
#include "kernels/gemm/warp_roles.cuh"
#include "kernels/gemm/wgmma.cuh"

namespace orrery::kernels::fp8_kernel {

struct Params {
  CUtensorMap a, b, a_scales;
  CUtensorMap b_scales;  // kFp8Tiles
  TileGemmParams gemm;
};

// What the producer tells the consumers with each step: where the tile is, and the scale of B.
struct Step {
  float b_scale;  // kFp8Block
  int k_steps;    // of the tile; 0: no more tiles
  int k_tail;     // K values of the tile's last step
  int row, row_end, col, group;
};

// Scales are copied 128 rows at a time, from a row that begins at 16 bytes.
constexpr int kScaleBox = kTile + 4;

template <TileKind kKind, int kTileRows, int kTileCols, bool kPair>
struct Traits {
  static constexpr bool kBlockScales = kKind == TileKind::kFp8Block;
  static constexpr int kRows = kTileRows, kCols = kTileCols;
  static constexpr int kBlocks = kPair ? 2 : 1;
  static constexpr int kConsumers = kRows % 192 == 0 ? 3 : 2;  // warpgroups
  static constexpr int kThreads = kProducerThreads + kConsumers * 128;
  // Of a thread, 65536 / kThreads at first; the producers give some of their own away.
  static constexpr int kProducerRegisters = kConsumers == 3 ? 32 : 40;
  static constexpr int kConsumerRegisters = kConsumers == 3 ? 160 : 232;
  static constexpr int kWaves = kRows / (64 * kConsumers);  // of 64 rows, of each consumer
  static_assert(kRows % (64 * kConsumers) == 0 && kCols % 8 == 0);
  static constexpr int kValues = kCols / 2;  // of a thread, of a wave
  static_assert(kCols == kTile, "a tile's columns have the scale of one block");

  static constexpr int kABytes = kRows * kAtomRowBytes, kBBytes = kCols * kAtomRowBytes;
  static_assert(kABytes / kBlocks % kSwizzleBytes == 0 && kBBytes % kSwizzleBytes == 0);
  static constexpr int kScaleBoxes = (kRows + kTile - 1) / kTile;  // of A
  static constexpr int kAScaleBytes = (kScaleBoxes * kTile + 32) * 4;
  static constexpr int kBScaleBytes = kBlockScales ? 0 : (kTile + 32) * 4;
  static constexpr int kScaleBytes = (kScaleBoxes + (kBlockScales ? 0 : 1)) * kScaleBox * 4;
  static constexpr int kSideBytes = kAScaleBytes + kBScaleBytes + 128;
  static_assert(kAScaleBytes % 128 == 0 && kBScaleBytes % 128 == 0);
  static constexpr int kStageBytes = kABytes + kBBytes + kSideBytes;
  static constexpr int kReserved = kSwizzleBytes + 256;  // alignment; barriers
  static constexpr int kStages = (kMaxSharedBytes - kReserved) / kStageBytes;
  static_assert(kStages >= 3 && kStages * 16 <= 256);
  static constexpr int kSharedBytes = kReserved + kStages * kStageBytes;
};

// Addresses in shared memory.
template <class T>
struct Shared {
  uint32_t base;
  __device__ uint32_t a(int s) const { return base + s * (T::kABytes + T::kBBytes); }
  __device__ uint32_t b(int s) const { return a(s) + T::kABytes; }
  __device__ uint32_t a_scales(int s) const { return a(T::kStages) + s * T::kSideBytes; }
  __device__ uint32_t b_scales(int s) const { return a_scales(s) + T::kAScaleBytes; }
  __device__ uint32_t step(int s) const { return b_scales(s) + T::kBScaleBytes; }
  __device__ uint32_t full(int s) const { return a_scales(T::kStages) + s * 8; }
  __device__ uint32_t empty(int s) const { return full(T::kStages + s); }
};

}  // namespace orrery::kernels::fp8_kernel
