// What the project's own GEMM kernels for Hopper are asked for: groups whose sizes only the GPU
// knows, and scales in any layout, which cuBLASLt does not take. fp8_gemm.h and bf16_gemm.h are fed
// by bulk tensor copies; tile_gemm takes FP8 scales in the layouts that those cannot copy.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/base/status.h"

namespace orrery::kernels {

// C[m, n] = A·B. Scales as in types.h.
enum class TileKind {
  kBf16Nt,    // A[m, k], B[n, k]; C BF16
  kBf16Nn,    // A[m, k], B[k, n]; C BF16
  kBf16Tn,    // A[k, m], B[k, n]; C += in FP32, or C =: see accumulate
  kFp8Block,  // A[m, k] in 1x128 tiles, B[n, k] in 128x128 blocks; C BF16
  kFp8Tiles,  // A[m, k] and B[n, k] in 1x128 tiles; C as of kBf16Tn
};

// What `offsets` splits: nothing; the rows of A and C, each group with a B of its own; or K, each
// group with a C of its own, of which those of `groups` groups from `group` on are computed.
enum class TileGrouping { kNone, kRows, kDepth };

struct TileOperand {
  const void* data = nullptr;
  int64_t ld = 0;  // elements from one row as stored to the next
  const float* scales = nullptr;
  int64_t row_stride = 0, tile_stride = 0;     // of the scales
  int64_t group_stride = 0, group_scales = 0;  // B: elements and scales from one group to the next
};

struct TileGemmParams {
  TileGrouping grouping = TileGrouping::kNone;
  int m = 0, n = 0, k = 0;           // kRows: m is a bound; kDepth: K of all groups, or more
  const int32_t* offsets = nullptr;  // [groups + 1], on the device; does not decrease
  int groups = 0, group = 0;
  TileOperand a, b;
  void* c = nullptr;
  int64_t ldc = 0;
  int64_t c_group_stride = 0;  // kDepth: elements of C from one group to the next
  int sms = 0;                 // multiprocessors to run on at most; 0: all
  bool accumulate = true;      // of an FP32 C; that of groups without K is left alone in any case
};

// kind: kFp8Block or kFp8Tiles. `name` is the caller's, for errors. Arguments have been checked.
Status tile_gemm(const char* name, TileKind kind, const TileGemmParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
