// The project's FP8 GEMM kernel for Hopper: bulk tensor copies feed wgmma through a ring of
// shared-memory buffers; see fp8_kernel.cuh. It takes the kinds kFp8Block and kFp8Tiles of
// tile_gemm.h with any grouping when 1x128 scales lie tile by tile.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/gemm/fp8_tiling.h"
#include "kernels/gemm/tile_gemm.h"

namespace orrery::kernels {

// Whether the kernel can read these scales: each tile's are contiguous and begin at 16 bytes.
bool fp8_gemm_takes(TileKind kind, const TileGemmParams& p);

// The tiling that suits p on this device.
Status fp8_gemm_tiling(TileKind kind, const TileGemmParams& p, Fp8Tiling* tiling);

// Computes C with a tiling of fp8_tiling.h. Arguments have been checked; fp8_gemm_takes holds.
Status fp8_gemm(const char* name, TileKind kind, const TileGemmParams& p, const Fp8Tiling& tiling,
                cudaStream_t stream);

// fp8_gemm when it takes the scales, tile_gemm when not.
Status any_fp8_gemm(const char* name, TileKind kind, const TileGemmParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
