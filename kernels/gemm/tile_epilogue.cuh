// From the accumulators of a tile to C. A warpgroup has 64 rows; see wgmma.cuh for what element of
// it a register is.
#pragma once

#include "kernels/base/vec.cuh"

namespace orrery::kernels {

// Lane q of four has words[j] = word q of chunk j; afterwards it has the four words of chunk q.
__device__ inline uint4 transpose_quad(const uint32_t (&words)[4]) {
  constexpr unsigned kAll = 0xffffffffu;
  const int q = threadIdx.x % 4;
  const bool odd = q % 2 == 1, high = q / 2 == 1;
  // Between neighbours: words 2·(q/2) and 2·(q/2) + 1 of chunks q % 2 (even) and q % 2 + 2.
  const uint32_t x = __shfl_xor_sync(kAll, odd ? words[0] : words[1], 1);
  const uint32_t y = __shfl_xor_sync(kAll, odd ? words[2] : words[3], 1);
  const uint32_t near[2] = {odd ? x : words[0], odd ? words[1] : x};
  const uint32_t far[2] = {odd ? y : words[2], odd ? words[3] : y};
  // Between pairs: the other half of chunk q.
  const uint32_t z = __shfl_xor_sync(kAll, high ? near[0] : far[0], 2);
  const uint32_t w = __shfl_xor_sync(kAll, high ? near[1] : far[1], 2);
  return high ? make_uint4(z, w, far[0], far[1]) : make_uint4(near[0], near[1], z, w);
}

// Rows row, row + 8 (of this thread) of kCols columns from `col` on, as BF16.
template <int kCols>
__device__ inline void store_bf16(const float (&d)[kCols / 2], __nv_bfloat16* c, int64_t ldc,
                                  int row, int row_end, int col, int col_end) {
  const int q = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    __nv_bfloat16* to = c + (row + 8 * half) * ldc;
#pragma unroll
    for (int first = 0; first < kCols; first += 32) {  // a chunk of 8 columns for each lane of four
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int i = first / 2 + 4 * j + 2 * half;
        words[j] = pack_bf16x2(d[i], d[i + 1]);
      }
      const uint4 chunk = transpose_quad(words);
      const int at = col + first + 8 * q;
      if (row + 8 * half < row_end && at < col_end) *reinterpret_cast<uint4*>(to + at) = chunk;
    }
  }
}

// Of two chunks of 8 columns as in wgmma.cuh, even lanes get 4 columns of the first and odd ones of
// the second: those from columns + quad_column() on.
__device__ inline float4 quad_of_chunks(const float* d) {
  const bool odd = threadIdx.x % 2 == 1;
  const float x = __shfl_xor_sync(0xffffffffu, odd ? d[0] : d[4], 1);
  const float y = __shfl_xor_sync(0xffffffffu, odd ? d[1] : d[5], 1);
  return odd ? make_float4(x, y, d[4], d[5]) : make_float4(d[0], d[1], x, y);
}
__device__ inline int quad_column() {
  const int q = threadIdx.x % 4;
  return q % 2 * 8 + q / 2 * 4;
}

// The same as floats: C += with `accumulate`, C = without. The L2 cache adds, so that nothing waits
// for the old values; those below 2^-126 may count as zeros then.
template <int kCols>
__device__ inline void store_float(const float (&d)[kCols / 2], float* c, int64_t ldc, int row,
                                   int row_end, int col, int col_end, bool accumulate) {
  static_assert(kCols % 16 == 0);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float* to = c + (row + 8 * half) * ldc;
#pragma unroll
    for (int first = 0; first < kCols; first += 16) {
      const float4 x = quad_of_chunks(d + first / 2 + 2 * half);
      const int at = col + first + quad_column();
      if (row + 8 * half >= row_end || at >= col_end) continue;
      if (accumulate)
        asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to + at),
                     "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
                     : "memory");
      else
        *reinterpret_cast<float4*>(to + at) = x;
    }
  }
}

}  // namespace orrery::kernels
