// Tensors on the device, or page-locked in host memory: memory of a pool with its real shape.
#pragma once

#include "kernels/base/types.h"
#include "runtime/cuda/memory_pool.h"
#include "sim/graph/training_graph.h"

namespace orrery {

struct CudaTensor {
  char* data = nullptr;
  int64_t rows = 0, cols = 0, bytes = 0;
  uint8_t readers_left = 0;
  StreamClock last_use{};

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
  kernels::bf16* bf16() const { return as<kernels::bf16>(); }
  float* f32() const { return as<float>(); }
  int32_t* i32() const { return as<int32_t>(); }
};

// Scales follow the data of a block-scaled tensor at the next 16 bytes.
constexpr int64_t scale_offset(int64_t data_bytes) { return (data_bytes + 15) / 16 * 16; }

// Activations: scales in the order of rows, as what travels between ranks has to have them.
inline kernels::Fp8View fp8_rows(const CudaTensor& t) {
  const int64_t tiles = kernels::tiles(t.cols);
  return {t.as<kernels::fp8>(),
          reinterpret_cast<float*>(t.data + scale_offset(t.rows * t.cols)),
          t.rows,
          t.cols,
          tiles,
          1};
}

// Transposed operands of weight gradients, which nothing but the GEMM reads: scales in its order.
inline kernels::Fp8View fp8_transposed(const CudaTensor& t) {
  kernels::Fp8View v = fp8_rows(t);
  v.row_stride = 1;
  v.tile_stride = t.rows;
  return v;
}

}  // namespace orrery
