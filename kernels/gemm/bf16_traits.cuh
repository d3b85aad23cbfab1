// Sizes of the BF16 GEMM kernel and its shared memory, for one layout and one width of tiles.
#pragma once

#include <cuda.h>

#include "kernels/base/types.h"
#include "kernels/gemm/bf16_tiling.h"
#include "kernels/gemm/bulk_copy.cuh"
#include "kernels/gemm/pipeline.cuh"
#include "kernels/gemm/tile_gemm.h"
#include "kernels/gemm/warp_roles.cuh"
#include "kernels/gemm/wgmma.cuh"

namespace orrery::kernels::bf16_kernel {

struct Params {
  CUtensorMap a, b;
  TileGemmParams gemm;
};

constexpr int kStepDepth = 64;  // K of a step: the 128 bytes of a swizzled row
constexpr int kAtomCols = 64;   // m or n of an atom of an operand whose K is strided (wgmma.cuh)
constexpr int kAtomBytes = kStepDepth * kAtomRowBytes;

template <TileKind kKind, int kTileCols>
struct Traits {
  static constexpr bool kAddsFloat = kKind == TileKind::kBf16Tn;
  static constexpr bool kAStrided = kKind == TileKind::kBf16Tn;
  static constexpr bool kBStrided = kKind != TileKind::kBf16Nt;
  static constexpr int kRows = kBf16TileRows, kCols = kTileCols;
  static_assert(kRows == kConsumers * 64 && kCols % kAtomCols == 0);

  static constexpr int kABytes = kRows * kAtomRowBytes, kBBytes = kCols * kAtomRowBytes;
  static constexpr int kStageBytes = kABytes + kBBytes;
  static constexpr int kReserved = kSwizzleBytes + 256;  // alignment; barriers
  static constexpr int kStages = (kMaxSharedBytes - kReserved) / kStageBytes;
  static_assert(kStages >= 3 && kStages * 16 <= 256);
  static constexpr int kSharedBytes = kReserved + kStages * kStageBytes;
};

// Addresses in shared memory.
template <class T>
struct Shared {
  uint32_t base;
  __device__ uint32_t a(int s) const { return base + s * T::kStageBytes; }
  __device__ uint32_t b(int s) const { return a(s) + T::kABytes; }
  __device__ uint32_t full(int s) const { return a(T::kStages) + s * 8; }
  __device__ uint32_t empty(int s) const { return full(T::kStages + s); }
};

}  // namespace orrery::kernels::bf16_kernel
