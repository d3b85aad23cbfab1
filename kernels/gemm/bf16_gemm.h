// The project's own BF16 GEMM for Hopper, for groups whose sizes only the GPU knows: tiles by
// wgmma, fed by bulk tensor copies.
#pragma once

#include <cuda_runtime.h>

#include "kernels/gemm/bf16_tiling.h"
#include "kernels/gemm/tile_gemm.h"

namespace orrery::kernels {

// kind: one of the kBf16 kinds. `name` is the caller's, for errors. Arguments have been checked;
// pointers and distances between rows are multiples of 16 bytes. kDepth: p.k rows are readable.
Status bf16_gemm(const char* name, TileKind kind, const TileGemmParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
