#include "kernels/base/fp8.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/quant/arguments.h"
#include "kernels/quant/cast.h"
#include "kernels/quant/transpose_tile.cuh"

namespace orrery::kernels {
namespace {

constexpr int kRowsOfThread = 4;
constexpr int kWarps = kTransposeThreads / 32;

// The rows of x that are rows row0 .. row0 + 3 of the source; -1: zeros. As rows are a multiple of
// 16, all four are inside or none.
template <bool kGathered>
struct SourceRows {
  int64_t of[kRowsOfThread];

  __device__ SourceRows(const CastTransposeParams& p, int64_t row0, bool inside) {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      if constexpr (kGathered) {
        const int32_t index = inside ? p.gather[row0 + i] : -1;
        of[i] = index < 0 ? -1 : index / static_cast<int32_t>(p.gather_divisor);
      } else {
        of[i] = inside ? row0 + i : -1;
      }
    }
  }
};

// A thread's share of a block's source: 16 bytes of each of 4 consecutive rows, kept as they are
// stored, so that the registers hold many loads. Zeros beyond the matrix.
struct Bf16Share {
  static constexpr int kColumns = kVec;
  uint4 raw[kRowsOfThread];

  template <bool kGathered>
  __device__ Bf16Share(const CastTransposeParams& p, const SourceRows<kGathered>& rows,
                       int64_t col) {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i)
      raw[i] = rows.of[i] >= 0 ? *reinterpret_cast<const uint4*>(p.x + rows.of[i] * p.cols + col)
                               : uint4{};
  }

  // The largest magnitude of each of this thread's columns in the rows of its warp; in lanes 0..7,
  // stored for the block.
  __device__ void largest_of_warp(float* to) const {
    uint32_t m[4];
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      m[w] = amax_bf16x2(amax_bf16x2(word(0, w), word(1, w)), amax_bf16x2(word(2, w), word(3, w)));
      // Lanes 8 apart have the same columns.
      m[w] = amax_bf16x2(m[w], __shfl_xor_sync(0xffffffffu, m[w], 8));
      m[w] = amax_bf16x2(m[w], __shfl_xor_sync(0xffffffffu, m[w], 16));
    }
    float x[kVec];
    unpack8(make_uint4(m[0], m[1], m[2], m[3]), x);
    if (threadIdx.x % 32 < 8) store8(to, x);
  }

  // Column j of the 4 rows.
  __device__ void column(int j, float (&x)[kRowsOfThread]) const {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      const uint32_t pair = word(i, j / 2);
      x[i] = __uint_as_float(j % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
    }
  }

 private:
  __device__ uint32_t word(int row, int w) const {
    return w == 0 ? raw[row].x : w == 1 ? raw[row].y : w == 2 ? raw[row].z : raw[row].w;
  }
};

// The values as halves, which hold e4m3 exactly: unpacked once, in fewer registers than floats.
struct Fp8Share {
  static constexpr int kColumns = 16;
  __half2 pairs[kRowsOfThread][kColumns / 2];
  float scale[kRowsOfThread];

  template <bool kGathered>
  __device__ Fp8Share(const CastTransposeParams& p, const SourceRows<kGathered>& rows,
                      int64_t col) {
    const float* scales = p.x8.scales + col / kTile * p.x8.tile_stride;
    uint4 raw[kRowsOfThread];
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i)
      raw[i] = rows.of[i] >= 0
                   ? *reinterpret_cast<const uint4*>(p.x8.data + rows.of[i] * p.cols + col)
                   : uint4{};
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i)
      scale[i] = rows.of[i] >= 0 ? scales[rows.of[i] * p.x8.row_stride] : 0;
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) unpack(raw[i], pairs[i]);
  }

  __device__ void largest_of_warp(float* to) const {
    float m[kColumns];
#pragma unroll
    for (int w = 0; w < kColumns / 4; ++w) {
      float x[kRowsOfThread][4];
      values(w, x);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float& largest = m[4 * w + j];
        largest =
            fmaxf(fmaxf(fabsf(x[0][j]), fabsf(x[1][j])), fmaxf(fabsf(x[2][j]), fabsf(x[3][j])));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 8));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 16));
      }
    }
    if (threadIdx.x % 32 >= 8) return;
#pragma unroll
    for (int w = 0; w < kColumns / 4; ++w)
      reinterpret_cast<float4*>(to)[w] =
          make_float4(m[4 * w], m[4 * w + 1], m[4 * w + 2], m[4 * w + 3]);
  }

  __device__ void column(int j, float (&x)[kRowsOfThread]) const {
    float four[kRowsOfThread][4];
    values(j / 4, four);
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) x[i] = four[i][j % 4];
  }

 private:
  __device__ static void unpack(const uint4& raw, __half2 (&to)[kColumns / 2]) {
    const uint32_t words[kColumns / 4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int j = 0; j < kColumns / 2; ++j) {
      const uint32_t two = j % 2 == 0 ? words[j / 2] & 0xffff : words[j / 2] >> 16;
      to[j] =
          __half2(__nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(two), __NV_E4M3));
    }
  }

  // Columns 4w .. 4w + 3.
  __device__ void values(int w, float (&x)[kRowsOfThread][4]) const {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      const float2 a = __half22float2(pairs[i][2 * w]), b = __half22float2(pairs[i][2 * w + 1]);
      x[i][0] = a.x * scale[i], x[i][1] = a.y * scale[i];
      x[i][2] = b.x * scale[i], x[i][3] = b.y * scale[i];
    }
  }
};

// What the columns of a block need for their quantisation, where the 8 threads that have a word's
// columns read them without bank conflicts.
template <int kPerThread>
struct ColumnScales {
  float4 pairs[kPerThread / 2][8];  // scale and inverse of columns 2i and 2i + 1 of a thread

  __device__ void put(int column, float scale, float inverse) {
    const int i = column % kPerThread;
    reinterpret_cast<float2*>(&pairs[i / 2][column / kPerThread])[i % 2] =
        make_float2(scale, inverse);
  }
};

template <class Share, bool kGathered, int kBlocks>
__global__ __launch_bounds__(kTransposeThreads,
                             kBlocks) void cast_transpose_kernel(CastTransposeParams p) {
  constexpr int kPerThread = Share::kColumns, kColumns = 8 * kPerThread;
  __shared__ TransposeTile<kColumns> tile;
  __shared__ __align__(16) float warp_amax[kWarps][kColumns];
  __shared__ ColumnScales<kPerThread> column_scales;

  const int64_t row0 = int64_t{blockIdx.y} * kTile, col0 = int64_t{blockIdx.x} * kColumns;
  const int chunk = threadIdx.x % 8, word = threadIdx.x / 8;
  const int64_t row_of_thread = row0 + word * kRowsOfThread,
                col_of_thread = col0 + chunk * kPerThread;
  const SourceRows<kGathered> rows(p, row_of_thread,
                                   row_of_thread < p.rows && col_of_thread < p.cols);
  const Share share(p, rows, col_of_thread);
  share.largest_of_warp(&warp_amax[threadIdx.x / 32][chunk * kPerThread]);
  __syncthreads();
  if (threadIdx.x < kColumns) {
    float m = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) m = fmaxf(m, warp_amax[w][threadIdx.x]);
    const float scale = tile_scale(m);
    column_scales.put(static_cast<int>(threadIdx.x), scale, tile_inverse(scale));
    const int64_t col = col0 + threadIdx.x;
    if (col < p.cols)
      p.out.scales[col * p.out.row_stride + int64_t{blockIdx.y} * p.out.tile_stride] = scale;
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const float4 pair = column_scales.pairs[j / 2][chunk];
    const float scale = j % 2 == 0 ? pair.x : pair.z, inverse = j % 2 == 0 ? pair.y : pair.w;
    float x[kRowsOfThread];
    share.column(j, x);
    tile.put(chunk * kPerThread + j, word,
             pack_fp8x4(divide(x[0], scale, inverse), divide(x[1], scale, inverse),
                        divide(x[2], scale, inverse), divide(x[3], scale, inverse)));
  }
  __syncthreads();
#pragma unroll
  for (int column = word; column < kColumns; column += kTransposeThreads / 8) {
    const int64_t col = col0 + column, row = row0 + chunk * 16;
    if (col < p.cols && row < p.rows)
      *reinterpret_cast<uint4*>(p.out.data + col * p.rows + row) = tile.get(column, chunk);
  }
}

template <class Share, int kBlocks>
void launch(const CastTransposeParams& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(p.cols, 8 * Share::kColumns)),
                  static_cast<unsigned>(tiles(p.rows)));
  if (p.gather != nullptr)
    cast_transpose_kernel<Share, true, kBlocks><<<grid, kTransposeThreads, 0, stream>>>(p);
  else
    cast_transpose_kernel<Share, false, kBlocks><<<grid, kTransposeThreads, 0, stream>>>(p);
}

}  // namespace

Status cast_transpose(const CastTransposeParams& p, cudaStream_t stream) {
  const bool from_fp8 = p.x8.data != nullptr, used = p.rows > 0 && p.cols > 0;
  const void* source = from_fp8 ? static_cast<const void*>(p.x8.data) : p.x;
  if (Status s = check("cast_transpose",
                       {multiple_of("rows", p.rows, 16),
                        multiple_of("cols", p.cols, from_fp8 ? 16 : 8),
                        equal("out.rows", p.out.rows, p.cols),
                        equal("out.cols", p.out.cols, p.rows),
                        at_most("rows/128", tiles(p.rows), kMaxGridYz),
                        at_most("gather_divisor", p.gather_divisor, INT32_MAX),
                        {!from_fp8 || p.x == nullptr, "both x and x8.data are given, expected one"},
                        equal("x8.cols", from_fp8 ? p.x8.cols : p.cols, p.cols),
                        pointer("x8.scales", p.x8.scales, used && from_fp8),
                        vector_pointer(from_fp8 ? "x8.data" : "x", source, used),
                        vector_pointer("out.data", p.out.data, used),
                        pointer("out.scales", p.out.scales, used)});
      !s.ok() || !used)
    return s;
  if (from_fp8)
    launch<Fp8Share, 4>(p, stream);
  else
    launch<Bf16Share, 6>(p, stream);
  return launched("cast_transpose");
}

}  // namespace orrery::kernels
