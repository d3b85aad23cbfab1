// Element types and the two block-scaled FP8 layouts (DeepSeek-V3, arXiv 2412.19437,
// section 3.3.2).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace orrery::kernels {

using bf16 = __nv_bfloat16;
using fp8 = __nv_fp8_e4m3;

constexpr int kTile = 128;  // elements that share a scale
constexpr int64_t tiles(int64_t n) { return (n + kTile - 1) / kTile; }

// Activations: row-major [rows, cols], a scale per 1x128 tile of a row. Element (r, c) is
// data[r·cols + c] · scales[r·row_stride + (c/128)·tile_stride].
struct Fp8View {
  fp8* data = nullptr;
  float* scales = nullptr;
  int64_t rows = 0, cols = 0;
  int64_t row_stride = 0, tile_stride = 0;  // of the scales
};

// Weights: row-major [rows, cols], a scale per 128x128 block, row-major too.
struct Fp8Block {
  fp8* data = nullptr;
  float* scales = nullptr;
  int64_t rows = 0, cols = 0;
};

}  // namespace orrery::kernels
