#include "kernels/base/fp8.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/quant/arguments.h"
#include "kernels/quant/cast.h"
#include "kernels/quant/transpose_tile.cuh"

namespace orrery::kernels {
namespace {

constexpr int kRowsOfThread = 4;
constexpr int kWarps = kTransposeThreads / 32;
constexpr int kColumnsAtOnce = kTransposeThreads / 8;  // stored

// base + count · stride, of global memory. The compiler does not see through it: from all their
// factors, it would make the addresses of a thread's rows anew for each.
template <class T>
__device__ inline T* stepped(T* base, uint32_t count, uint32_t stride) {
  std::size_t p;
  asm volatile("mad.wide.u32 %0, %1, %2, %3;"
               : "=l"(p)
               : "r"(count), "r"(stride * static_cast<uint32_t>(sizeof(T))),
                 "l"(__cvta_generic_to_global(base)));
  return static_cast<T*>(__cvta_global_to_generic(p));
}

// The rows of the source that are a thread's: 4 consecutive ones of the transpose's columns, all
// inside or none, as there is a multiple of 16 of them.
template <bool kGathered>
struct SourceRows;

template <>
struct SourceRows<false> {
  uint32_t first;
  bool inside;

  __device__ SourceRows(const CastTransposeParams&, uint32_t row, bool row_inside)
      : first(row), inside(row_inside) {}
  __device__ bool there(int) const { return inside; }
  template <class T>
  __device__ void at(const T* base, uint32_t stride, const T* (&row)[kRowsOfThread]) const {
    row[0] = stepped(base, first, stride);
#pragma unroll
    for (int i = 1; i < kRowsOfThread; ++i) row[i] = stepped(row[i - 1], 1, stride);
  }
};

template <>
struct SourceRows<true> {
  int32_t of[kRowsOfThread];  // -1: zeros

  // A warp has 16 rows: each of 16 lanes finds one.
  __device__ SourceRows(const CastTransposeParams& p, uint32_t row, bool inside) {
    const uint32_t lane = threadIdx.x % 32, mine = row - lane / 8 * kRowsOfThread + lane % 16;
    const int32_t index = mine < static_cast<uint32_t>(p.rows) ? p.gather[mine] : -1;
    const int32_t source = index < 0
                               ? -1
                               : static_cast<int32_t>(static_cast<uint32_t>(index) /
                                                      static_cast<uint32_t>(p.gather_divisor));
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
      of[i] = __shfl_sync(0xffffffffu, source, static_cast<int>(lane / 8) * kRowsOfThread + i);
      if (!inside) of[i] = -1;
    }
  }
  __device__ bool there(int i) const { return of[i] >= 0; }
  template <class T>
  __device__ void at(const T* base, uint32_t stride, const T* (&row)[kRowsOfThread]) const {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i)
      row[i] = stepped(base, static_cast<uint32_t>(of[i]), stride);
  }
};

__device__ inline uint32_t word_of(const uint4& raw, int w) {
  return w == 0 ? raw.x : w == 1 ? raw.y : w == 2 ? raw.z : raw.w;
}

// 16 bytes of each of a thread's 4 rows, kept as they are stored, so that the registers hold many
// loads. Zeros beyond the matrix. from: of the thread's first column in row 0.
struct RawRows {
  uint4 of[kRowsOfThread];

  template <class T, bool kGathered>
  __device__ RawRows(const SourceRows<kGathered>& rows, const T* from, int64_t cols) {
    const T* row[kRowsOfThread];
    rows.at(from, static_cast<uint32_t>(cols), row);
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i)
      of[i] = rows.there(i) ? *reinterpret_cast<const uint4*>(row[i]) : uint4{};
  }
};

// A thread's share of a block's source, from column `col` on.
struct Bf16Share {
  static constexpr int kColumns = kVec;
  static constexpr bool kDownFirst = false;
  RawRows raw;

  template <bool kGathered>
  __device__ Bf16Share(const CastTransposeParams& p, const SourceRows<kGathered>& rows,
                       uint32_t col)
      : raw(rows, p.x + col, p.cols) {}

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
  // Blocks below each other, whose rows of the transpose continue each other's, run together.
  static constexpr bool kDownFirst = true;
  static_assert(8 * kColumns == kTile, "a block's columns have the scales of one tile");
  RawRows raw;
  float scale[kRowsOfThread];

  template <bool kGathered>
  __device__ Fp8Share(const CastTransposeParams& p, const SourceRows<kGathered>& rows, uint32_t col)
      : raw(rows, p.x8.data + col, p.cols) {
    const float* scales = p.x8.scales + col / kTile * p.x8.tile_stride;
    const float* row[kRowsOfThread];
    rows.at(scales, static_cast<uint32_t>(p.x8.row_stride), row);
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) scale[i] = rows.there(i) ? *row[i] : 0.0f;
  }

  // Of three numbers at once, as integers: the products with -scale are negative, and of two of
  // those the one of larger magnitude has the larger bits. NaN has smaller bits than any.
  __device__ void largest_of_warp(float* to) const {
    uint32_t m[kColumns], half[kColumns / 2], quarter[kColumns / 4];
#pragma unroll
    for (int w = 0; w < kColumns / 4; ++w) {
      uint32_t x[kRowsOfThread][4];
#pragma unroll
      for (int i = 0; i < kRowsOfThread; ++i) {
        float stored[4];
        unpack_fp8x4(word_of(raw.of[i], w), stored);
#pragma unroll
        for (int j = 0; j < 4; ++j) x[i][j] = __float_as_uint(fabsf(stored[j]) * -fabsf(scale[i]));
      }
#pragma unroll
      for (int j = 0; j < 4; ++j)
        m[4 * w + j] = max(__vimax3_u32(x[0][j], x[1][j], x[2][j]), x[3][j]);
    }
    // Lanes 8 apart have the same columns: each keeps half of them, then a quarter.
    const bool upper_half = threadIdx.x / 8 % 2 == 1, upper = threadIdx.x / 16 % 2 == 1;
    larger_half(m, half, upper_half, 8);
    larger_half(half, quarter, upper, 16);
    reinterpret_cast<uint4*>(to)[(upper_half ? 2 : 0) + (upper ? 1 : 0)] =
        make_uint4(quarter[0], quarter[1], quarter[2], quarter[3]);
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

  // The larger of both lanes' numbers, of the half that is this lane's.
  template <int kHalf>
  __device__ static void larger_half(const uint32_t (&all)[2 * kHalf], uint32_t (&mine)[kHalf],
                                     bool upper, int distance) {
#pragma unroll
    for (int j = 0; j < kHalf; ++j) {
      const uint32_t given = upper ? all[j] : all[kHalf + j],
                     kept = upper ? all[kHalf + j] : all[j];
      mine[j] = max(kept, __shfl_xor_sync(0xffffffffu, given, distance));
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
  constexpr int kStores = kColumns / kColumnsAtOnce;
  __shared__ TransposeTile<kColumns> tile;
  __shared__ __align__(16) float warp_amax[kWarps][kColumns];
  __shared__ ColumnScales<kPerThread> column_scales;

  const uint32_t down = Share::kDownFirst ? blockIdx.x : blockIdx.y;
  const uint32_t across = Share::kDownFirst ? blockIdx.y : blockIdx.x;
  const uint32_t row0 = down * kTile, col0 = across * kColumns;
  const uint32_t all_rows = static_cast<uint32_t>(p.rows), all_cols = static_cast<uint32_t>(p.cols);
  const uint32_t chunk = threadIdx.x % 8, word = threadIdx.x / 8;
  const uint32_t row = row0 + word * kRowsOfThread, col = col0 + chunk * kPerThread;
  const SourceRows<kGathered> rows(p, row, row < all_rows && col < all_cols);
  const Share share(p, rows, col);
  share.largest_of_warp(&warp_amax[threadIdx.x / 32][chunk * kPerThread]);
  __syncthreads();
  if (threadIdx.x < kColumns) {
    float m = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) m = fmaxf(m, fabsf(warp_amax[w][threadIdx.x]));
    const float scale = tile_scale(m);
    column_scales.put(static_cast<int>(threadIdx.x), tile_inverse(scale));
    const uint32_t column = col0 + threadIdx.x;
    if (column < all_cols)
      p.out.scales[column * p.out.row_stride + down * p.out.tile_stride] = scale;
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
  uint4 stored[kStores];
#pragma unroll
  for (int i = 0; i < kStores; ++i)
    stored[i] = tile.get(static_cast<int>(word) + i * kColumnsAtOnce, static_cast<int>(chunk));
  const uint32_t column = col0 + word, out_row = row0 + chunk * 16;
  fp8* out = stepped(p.out.data + out_row, column, all_rows);
#pragma unroll
  for (int i = 0; i < kStores; ++i)
    if (out_row < all_rows && column + i * kColumnsAtOnce < all_cols)
      *reinterpret_cast<uint4*>(stepped(out, i * kColumnsAtOnce, all_rows)) = stored[i];
}

template <class Share, int kBlocks>
void launch(const CastTransposeParams& p, cudaStream_t stream) {
  const auto down = static_cast<unsigned>(tiles(p.rows));
  const auto across = static_cast<unsigned>(ceil_div(p.cols, 8 * Share::kColumns));
  const dim3 grid = Share::kDownFirst ? dim3(down, across) : dim3(across, down);
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
                        at_most("cols", p.cols, kMaxGridYz * 8 * kVec),
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
