// Quantisation of BF16 to block-scaled e4m3 and E5M6, and transposes of quantised tensors.
//
// A tile's scale is amax/448 (1 for a tile of zeros) and its stored values are x/scale rounded to
// nearest even, so that x ~ stored·scale; see fake_quant_reference.h. Pointers to data are 16-byte
// aligned, and rows of data a multiple of 16 bytes unless said; the last tile of a row may be
// partial. Scales of an Fp8View may lie in any order (row_stride, tile_stride).
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// x[rows, cols] in 1x128 tiles along a row.
struct CastRowsParams {
  int64_t rows = 0, cols = 0;
  const bf16* x = nullptr;
  Fp8View out;  // [rows, cols]
};
Status cast_rows(const CastRowsParams& p, cudaStream_t stream);

// The transpose in 1x128 tiles along its own rows: 128 source rows share a scale. rows: a multiple
// of 16. With `gather`, row r of the source is gather[r] / gather_divisor, and -1 stands for zeros.
struct CastTransposeParams {
  int64_t rows = 0, cols = 0;
  const bf16* x = nullptr;          // one of x and x8, [rows, cols] unless gathered;
  Fp8View x8;                       // x8 is dequantised first
  const int32_t* gather = nullptr;  // [rows]; may be nullptr
  int64_t gather_divisor = 1;
  Fp8View out;  // [cols, rows]
};
Status cast_transpose(const CastTransposeParams& p, cudaStream_t stream);

// Dequantises.
struct CastBackParams {
  Fp8View x;
  bf16* out = nullptr;  // [x.rows, x.cols]
};
Status cast_back(const CastBackParams& p, cudaStream_t stream);

// `batch` matrices x[rows, cols], one after the other, in 128x128 blocks.
struct CastBlockParams {
  int64_t batch = 1, rows = 0, cols = 0;
  const bf16* x = nullptr;
  Fp8Block out;  // of the first matrix; data and scales of the others follow
};
Status cast_block(const CastBlockParams& p, cudaStream_t stream);

// out[cols, rows] = the transpose of each of `batch` matrices in[rows, cols], their scales
// included; exact. rows: a multiple of 16, too.
struct TransposeBlockParams {
  int64_t batch = 1, rows = 0, cols = 0;
  Fp8Block in, out;  // of the first matrix
};
Status transpose_block(const TransposeBlockParams& p, cudaStream_t stream);

// out[t·ld + r] = in[r·tiles + t].
struct TransposeScalesParams {
  int64_t rows = 0, tiles = 0;
  const float* in = nullptr;  // [rows, tiles]
  float* out = nullptr;       // [tiles, ld]
  int64_t ld = 0;             // at least rows
};
Status transpose_scales(const TransposeScalesParams& p, cudaStream_t stream);

// out[cols, rows] = in[rows, cols], transposed. rows: a multiple of 8, too.
struct TransposeBf16Params {
  int64_t rows = 0, cols = 0;
  const bf16* in = nullptr;
  bf16* out = nullptr;
};
Status transpose_bf16(const TransposeBf16Params& p, cudaStream_t stream);

// E5M6: sign, 5 bits of exponent (bias 15), 6 of mantissa; subnormals; the largest value is 65024.
// Values 2i and 2i + 1 of a row are bits 0..11 and 12..23 of its bytes 3i..3i + 2 (little-endian).
// An exponent of 31 stores NaN. Scales are amax/65024 per 1x128 tile, [rows, tiles(cols)].
// cols: a multiple of 8.
constexpr int64_t e5m6_row_bytes(int64_t cols) { return cols / 2 * 3; }
struct CastE5m6Params {
  int64_t rows = 0, cols = 0;
  const bf16* x = nullptr;
  uint8_t* packed = nullptr;  // [rows, e5m6_row_bytes(cols)]
  float* scales = nullptr;
};
Status cast_e5m6(const CastE5m6Params& p, cudaStream_t stream);

struct CastBackE5m6Params {
  int64_t rows = 0, cols = 0;
  const uint8_t* packed = nullptr;
  const float* scales = nullptr;
  bf16* out = nullptr;  // [rows, cols]
};
Status cast_back_e5m6(const CastBackE5m6Params& p, cudaStream_t stream);

}  // namespace orrery::kernels
