// Descriptions of matrices in global memory for Hopper's bulk tensor copies (CUDA driver API,
// "Tensor Map Object Management").
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/base/status.h"

namespace orrery::kernels {

// A row-major matrix from which boxes of [box_rows, box_cols] are copied; elements outside of it
// are read as zeros. Pointer and distance between rows: multiples of 16 bytes.
struct TensorMapShape {
  const void* data = nullptr;
  int64_t rows = 0, cols = 0;
  int64_t row_bytes = 0;  // from one row to the next
  int box_rows = 0, box_cols = 0;
  int64_t matrices = 1, matrix_bytes = 0;  // kBf16: one after the other
};

enum class TensorMapKind {
  kBytes128,  // one-byte elements; rows of the box are 128 bytes in the 128-byte swizzle
              // (wgmma.cuh)
  kFloats,    // floats, as they come
  kBf16,      // BF16; rows of the box are 64 elements in the 128-byte swizzle. For bulk_copy_3d
};

Status make_tensor_map(CUtensorMap* map, TensorMapKind kind, const TensorMapShape& shape);

}  // namespace orrery::kernels
