#include "kernels/base/fp8.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/quant/arguments.h"
#include "kernels/quant/cast.h"
#include "kernels/quant/transpose_tile.cuh"

namespace orrery::kernels {
namespace {

constexpr int kRowsOfThread = 4;
constexpr int kWarps = kTransposeThreads / 32;

// The rows of x that are a thread's 4 consecutive rows of the source: row `first` + (4 of) them.
// at(i, stride): where row i begins, counted from row `first`. As rows are a multiple of 16, all
// four are inside or none.
template <bool kGathered>
struct SourceRows;

// Counted from the block's first row, in 32 bits: addresses would be an eighth of the instructions.
template <>
struct SourceRows<false> {
  int64_t first;
  uint32_t of_thread;
  bool inside;

  __device__ SourceRows(const CastTransposeParams&, int64_t block, uint32_t row, bool row_inside)
      : first(block), of_thread(row), inside(row_inside) {}
  __device__ bool there(int) const { return inside; }
  __device__ uint32_t at(int i, int64_t stride) const {
    return (of_thread + i) * static_cast<uint32_t>(stride);
  }
};

template <>
struct SourceRows<true> {
  static constexpr int64_t first = 0;
  int32_t of[kRowsOfThread];  // -1: zeros

  __device__ SourceRows(const CastTransposeParams& p, int64_t block, uint32_t row, bool inside) {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      const int32_t index = inside ? p.gather[block + row + i] : -1;
      of[i] = index < 0 ? -1 : index / static_cast<int32_t>(p.gather_divisor);
    }
  }
  __device__ bool there(int i) const { return of[i] >= 0; }
  __device__ int64_t at(int i, int64_t stride) const { return of[i] * stride; }
};

__device__ inline uint32_t word_of(const uint4& raw, int w) {
  return w == 0 ? raw.x : w == 1 ? raw.y : w == 2 ? raw.z : raw.w;
}

// 16 bytes of each of a thread's 4 rows, kept as they are stored, so that the registers hold many
// loads. Zeros beyond the matrix. from: of the block's first column in row `first`.
struct RawRows {
  uint4 of[kRowsOfThread];

  template <class T, bool kGathered>
  __device__ RawRows(const SourceRows<kGathered>& rows, const T* from, int64_t cols, uint32_t col) {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i)
      of[i] = rows.there(i) ? *reinterpret_cast<const uint4*>(from + (rows.at(i, cols) + col))
                            : uint4{};
  }
};

// A thread's share of a block's source. col0: the block's first column; col: the thread's, from it.
struct Bf16Share {
  static constexpr int kColumns = kVec;
  RawRows raw;

  template <bool kGathered>
  __device__ Bf16Share(const CastTransposeParams& p, const SourceRows<kGathered>& rows,
                       int64_t col0, uint32_t col)
      : raw(rows, p.x + rows.first * p.cols + col0, p.cols, col) {}

  // The largest magnitude of each of this thread's columns in the rows of its warp, stored for the
  // block.
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
  __device__ uint32_t word(int row, int w) const { return word_of(raw.of[row], w); }
};

struct Fp8Share {
  static constexpr int kColumns = 16;
  static_assert(8 * kColumns == kTile, "a block's columns have the scales of one tile");
  RawRows raw;
  float scale[kRowsOfThread];

  template <bool kGathered>
  __device__ Fp8Share(const CastTransposeParams& p, const SourceRows<kGathered>& rows, int64_t col0,
                      uint32_t col)
      : raw(rows, p.x8.data + rows.first * p.cols + col0, p.cols, col) {
    const float* scales =
        p.x8.scales + rows.first * p.x8.row_stride + col0 / kTile * p.x8.tile_stride;
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i)
      scale[i] = rows.there(i) ? scales[rows.at(i, p.x8.row_stride)] : 0;
  }

  __device__ void largest_of_warp(float* to) const {
    float m[kColumns], half[kColumns / 2], quarter[kColumns / 4];
#pragma unroll
    for (int w = 0; w < kColumns / 4; ++w) {
      float x[kRowsOfThread][4];
      values(w, x);
#pragma unroll
      for (int j = 0; j < 4; ++j)
        m[4 * w + j] =
            fmaxf(fmaxf(fabsf(x[0][j]), fabsf(x[1][j])), fmaxf(fabsf(x[2][j]), fabsf(x[3][j])));
    }
    // Lanes 8 apart have the same columns: each keeps half of them, then a quarter.
    const bool upper_half = threadIdx.x / 8 % 2 == 1, upper = threadIdx.x / 16 % 2 == 1;
    larger_half(m, half, upper_half, 8);
    larger_half(half, quarter, upper, 16);
    reinterpret_cast<float4*>(to)[(upper_half ? 2 : 0) + (upper ? 1 : 0)] =
        make_float4(quarter[0], quarter[1], quarter[2], quarter[3]);
  }

  __device__ void column(int j, float (&x)[kRowsOfThread]) const {
    float four[kRowsOfThread][4];
    values(j / 4, four);
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) x[i] = four[i][j % 4];
  }

 private:
  // Columns 4w .. 4w + 3.
  __device__ void values(int w, float (&x)[kRowsOfThread][4]) const {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      unpack_fp8x4(word_of(raw.of[i], w), x[i]);
#pragma unroll
      for (float& v : x[i]) v *= scale[i];
    }
  }

  // The larger of both lanes' values, of the half that is this lane's.
  template <int kHalf>
  __device__ static void larger_half(const float (&all)[2 * kHalf], float (&mine)[kHalf],
                                     bool upper, int distance) {
#pragma unroll
    for (int j = 0; j < kHalf; ++j) {
      const float given = upper ? all[j] : all[kHalf + j], kept = upper ? all[kHalf + j] : all[j];
      mine[j] = fmaxf(kept, __shfl_xor_sync(0xffffffffu, given, distance));
    }
  }
};

// What the columns of a block need for their quantisation, where the 8 threads that have a word's
// columns read them without bank conflicts.
template <int kPerThread>
struct ColumnScales {
  struct alignas(16) Pair {
    Inverse of[2];  // of the scales of columns 2i and 2i + 1 of a thread
  };
  Pair pairs[kPerThread / 2][8];

  __device__ void put(int column, Inverse inverse) {
    const int i = column % kPerThread;
    pairs[i / 2][column / kPerThread].of[i % 2] = inverse;
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
  const uint32_t row_of_thread = word * kRowsOfThread, col_of_thread = chunk * kPerThread;
  const SourceRows<kGathered> rows(p, row0, row_of_thread,
                                   row0 + row_of_thread < p.rows && col0 + col_of_thread < p.cols);
  const Share share(p, rows, col0, col_of_thread);
  share.largest_of_warp(&warp_amax[threadIdx.x / 32][col_of_thread]);
  __syncthreads();
  if (threadIdx.x < kColumns) {
    float m = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) m = fmaxf(m, warp_amax[w][threadIdx.x]);
    const float scale = tile_scale(m);
    column_scales.put(static_cast<int>(threadIdx.x), tile_inverse(scale));
    const int64_t col = col0 + threadIdx.x;
    if (col < p.cols)
      p.out.scales[col * p.out.row_stride + int64_t{blockIdx.y} * p.out.tile_stride] = scale;
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const auto pair = column_scales.pairs[j / 2][chunk];
    float x[kRowsOfThread];
    share.column(j, x);
    tile.put(chunk * kPerThread + j, word, quantise4(x, pair.of[j % 2]));
  }
  __syncthreads();
  const bool stores = row0 + chunk * 16 < p.rows;
  const int columns = stores ? static_cast<int>(min(int64_t{kColumns}, p.cols - col0)) : 0;
  fp8* out = p.out.data + col0 * p.rows + row0;
#pragma unroll
  for (int column = word; column < kColumns; column += kTransposeThreads / 8)
    if (column < columns)
      *reinterpret_cast<uint4*>(out + (column * static_cast<uint32_t>(p.rows) + chunk * 16)) =
          tile.get(column, chunk);
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
                        at_most("cols", p.cols, 1 << 24),
                        at_most("x8.row_stride", p.x8.row_stride, 1 << 24),
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
    launch<Fp8Share, 5>(p, stream);
  else
    launch<Bf16Share, 6>(p, stream);
  return launched("cast_transpose");
}

}  // namespace orrery::kernels
