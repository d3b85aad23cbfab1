// Copies tiles of a GEMM's operands into shared memory, in the layout that wgmma reads.
#pragma once

#include "kernels/gemm/pipeline.cuh"
#include "kernels/gemm/wgmma.cuh"

namespace orrery::kernels {

constexpr int kCopyThreads = 128;
constexpr int kChunkBytes = 16;

// 128 bytes of K of kWidth rows (columns of B) of an operand whose K is contiguous. Elements past
// its end become zeros.
template <int kWidth>
class ContiguousCopy {
  static constexpr int kChunks = kAtomRowBytes / kChunkBytes;  // of a row
  static constexpr int kStep = kCopyThreads / kChunks;         // rows between a thread's copies
  static_assert(kStep % 8 == 0, "all of a thread's rows have the same swizzle");

 public:
  // `begin` and `end`: rows. data: of the matrix.
  __device__ void start(const void* data, int64_t ld, int begin, int end, int k_begin, int k_end) {
    const int chunk = threadIdx.x % kChunks, row = threadIdx.x / kChunks;
    step_bytes_ = kStep * ld;
    from_ = static_cast<const char*>(data) + ((begin + row) * ld + k_begin) + chunk * kChunkBytes;
    rows_ = end - begin - row;
    bytes_ = (k_end - k_begin) - chunk * kChunkBytes;
    offset_ = swizzled(row, chunk);
  }

  __device__ void next(uint32_t to) {
    const int valid = max(0, min(kChunkBytes, bytes_));
#pragma unroll
    for (int i = 0; i < kWidth / kStep; ++i)
      copy16(to + offset_ + i * kStep * kAtomRowBytes, from_ + i * step_bytes_,
             i * kStep < rows_ ? valid : 0);
    from_ += kAtomRowBytes;
    bytes_ -= kAtomRowBytes;
  }

 private:
  const char* from_;
  int64_t step_bytes_;
  int rows_, bytes_;  // left, from this thread's first row and chunk
  uint32_t offset_;
};

// A scale for each of kCopyThreads rows.
class ScaleCopy {
 public:
  __device__ void start(const float* scales, int64_t row_stride, int64_t tile_stride, int begin,
                        int end, int tile) {
    const int row = begin + static_cast<int>(threadIdx.x);
    from_ = scales + row * row_stride + tile * tile_stride;
    tile_stride_ = tile_stride;
    bytes_ = row < end ? 4 : 0;
  }
  __device__ void next(uint32_t to) {
    copy4(to + threadIdx.x * 4, from_, bytes_);
    from_ += tile_stride_;
  }

 private:
  const float* from_;
  int64_t tile_stride_;
  int bytes_;
};

}  // namespace orrery::kernels
