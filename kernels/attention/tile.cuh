// Tiles of BF16 matrices in shared memory, and products of them, one warp at a time.
//
// A tile of width w is row-major with rows w + 8 elements apart: w is a multiple of 32, so eight
// consecutive rows start in eight different groups of four banks, and neither ldmatrix nor the
// 16-byte copies conflict.
#pragma once

#include <cstdint>

#include "kernels/attention/mma.cuh"
#include "kernels/base/exp2.cuh"
#include "kernels/base/types.h"
#include "kernels/base/vec.cuh"

namespace orrery::kernels::attention {

template <int kWidth>
constexpr int kTileStride = kWidth + 8;
template <int kRows, int kWidth>
constexpr int kTileElements = kRows* kTileStride<kWidth>;

// Rows of one head of one sequence in global memory: row i at data + i · ld, `width` (a multiple of
// 8) wide.
template <class T>
struct Head {
  T* data;
  int64_t ld;
  int width;
};

// Starts copying rows [first, first + kRows) of x, by all kThreads threads of the block; rows from
// `seq` on and columns from x.width on become zeros.
template <int kThreads, int kRows, int kWidth>
__device__ inline void load_tile(bf16* tile, const Head<const bf16>& x, int first, int seq) {
  constexpr int kLanes = kWidth % 64 == 0 ? 8 : 4;  // that copy neighbouring vectors of a row
  constexpr int kStep = kThreads / kLanes;
  static_assert(kWidth % (kLanes * kVec) == 0 && kRows % kStep == 0);
  const int column = static_cast<int>(threadIdx.x) % kLanes * kVec;
  const int row = static_cast<int>(threadIdx.x) / kLanes;
  const uint32_t to = shared_address(tile + row * kTileStride<kWidth> + column);
#pragma unroll 2  // spelled out, the addresses take too many registers
  for (int r = 0; r < kRows; r += kStep) {
    const bool inside = first + row + r < seq;
    const bf16* from = x.data + (inside ? (first + row + r) * x.ld : 0) + column;
#pragma unroll
    for (int c = 0; c < kWidth; c += kLanes * kVec) {
      const bool valid = inside && column + c < x.width;
      cp_async<16>(to + 2 * (r * kTileStride<kWidth> + c), valid ? from + c : x.data, valid);
    }
  }
}

// c += a · bᵀ: a [16 kM, kDepth] and b [8 kN, kDepth], tiles of width kDepth.
template <int kM, int kN, int kDepth>
__device__ inline void multiply_transposed(float (&c)[kM][kN][4], const bf16* a, const bf16* b) {
  constexpr int kStride = kTileStride<kDepth>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint32_t a_row = shared_address(a + lane % 16 * kStride + lane / 16 * 8);
  const uint32_t b_row =
      shared_address(b + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8);
#pragma unroll
  for (int k = 0; k < kDepth; k += 16) {
    uint32_t a_part[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) load_matrices(a_part[m], a_row + 2 * (m * 16 * kStride + k));
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      uint32_t b_part[4];
      load_matrices(b_part, b_row + 2 * (n * 8 * kStride + k));
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma(c[m][n], a_part[m], b_part[0], b_part[1]);
        mma(c[m][n + 1], a_part[m], b_part[2], b_part[3]);
      }
    }
  }
}

// c += BF16(a) · b: a [16 kM, 8 kK] in accumulators, b [8 kK, 8 kN] a tile of width 8 kN.
template <int kM, int kN, int kK>
__device__ inline void multiply(float (&c)[kM][kN][4], const float (&a)[kM][kK][4], const bf16* b) {
  constexpr int kStride = kTileStride<8 * kN>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint32_t b_row = shared_address(b + lane % 16 * kStride + lane / 16 * 8);
#pragma unroll
  for (int k = 0; k < kK; k += 2) {
    uint32_t a_part[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = &a[m][k + i / 2][i % 2 * 2];
        a_part[m][i] = pack_bf16x2(pair[0], pair[1]);
      }
    }
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      uint32_t b_part[4];
      load_matrices_transposed(b_part, b_row + 2 * (k * 8 * kStride + n * 8));
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma(c[m][n], a_part[m], b_part[0], b_part[1]);
        mma(c[m][n + 1], a_part[m], b_part[2], b_part[3]);
      }
    }
  }
}

template <int kM, int kN>
__device__ inline void set_zero(float (&c)[kM][kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) c[m][n][i] = 0;
    }
  }
}

// Writes c · factor, rounded to BF16, to rows [first, first + 16 kM) of x, those before `seq`, by
// one warp. `staging`: shared memory of this warp for 16 kM rows of a tile of width 8 kN.
// factor[m][i]: of row 16 m + 8 i + lane / 4.
template <int kM, int kN>
__device__ inline void store_rows(const Head<bf16>& x, int first, int seq,
                                  const float (&c)[kM][kN][4], const float (&factor)[kM][2],
                                  bf16* staging) {
  constexpr int kStride = kTileStride<8 * kN>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  __syncwarp();  // other lanes may still read what the staging area held
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      bf16* row = staging + (m * 16 + i * 8 + lane / 4) * kStride + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < kN; ++n)
        *reinterpret_cast<uint32_t*>(row + n * 8) =
            pack_bf16x2(c[m][n][2 * i] * factor[m][i], c[m][n][2 * i + 1] * factor[m][i]);
    }
  }
  __syncwarp();
  for (int i = lane; i < 16 * kM * kN; i += 32) {
    const int row = i / kN, column = i % kN * kVec;
    if (first + row < seq && column < x.width)
      *reinterpret_cast<uint4*>(x.data + (first + row) * x.ld + column) =
          *reinterpret_cast<const uint4*>(staging + row * kStride + column);
  }
}

}  // namespace orrery::kernels::attention
