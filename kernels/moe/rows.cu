#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/moe/layout_view.h"
#include "kernels/moe/rows.h"

namespace orrery::kernels {
namespace {

constexpr int kWarps = 8;  // rows of a block

unsigned row_blocks(int64_t rows) { return static_cast<unsigned>(ceil_div(rows, kWarps)); }
__device__ int64_t warp_row() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
}

// `vectors`: 16-byte pieces of a row.
__global__ void __launch_bounds__(kWarps * 32)
    gather_kernel(GatherRowsParams p, const uint4* x, uint4* out, int64_t vectors) {
  const int64_t row = warp_row();
  if (row >= (p.rows != nullptr ? *p.rows : p.capacity) || row >= p.capacity) return;
  const int lane = threadIdx.x % 32;
  const int32_t index = p.index[row];
  const int64_t from = index < 0 ? -1 : index / static_cast<int32_t>(p.divisor);
  uint4* to = out + row * vectors;
  if (from < 0) {
    for (int64_t v = lane; v < vectors; v += 32) to[v] = uint4{};
  } else {
#pragma unroll 8
    for (int64_t v = lane; v < vectors; v += 32) to[v] = x[from * vectors + v];
  }
  if (p.out8.data == nullptr) return;
  for (int64_t tile = lane; tile < tiles(p.cols); tile += 32)
    p.out8.scales[row * p.out8.row_stride + tile * p.out8.tile_stride] =
        from < 0 ? 1.0f : p.x8.scales[from * p.x8.row_stride + tile * p.x8.tile_stride];
}

// A warp looks at 32 rows of out, and fills those that are empty.
__device__ void fill_empty_rows(const ScatterRowsParams& p, uint4* out, int64_t vectors,
                                int64_t first) {
  const int lane = threadIdx.x % 32;
  const int64_t end = p.rows != nullptr ? min(int64_t{*p.rows}, p.capacity) : p.capacity;
  const bool empty = first + lane < end && p.filled[first + lane] < 0;
  for (unsigned left = __ballot_sync(0xffffffffu, empty); left != 0; left &= left - 1) {
    const int64_t row = first + __ffs(static_cast<int>(left)) - 1;
    for (int64_t v = lane; v < vectors; v += 32) out[row * vectors + v] = uint4{};
    if (p.out8.data == nullptr) continue;
    for (int64_t tile = lane; tile < tiles(p.cols); tile += 32)
      p.out8.scales[row * p.out8.row_stride + tile * p.out8.tile_stride] = 1;
  }
}

// kRowThreads threads per row of x: each holds kVecs vectors at a time, and stores them to one
// place after the other. Blocks from `copying` on fill the empty rows.
template <int kRowThreads, int kVecs>
__global__ void __launch_bounds__(kWarps * 32)
    scatter_kernel(ScatterRowsParams p, const uint4* x, uint4* out, int64_t vectors,
                   unsigned copying) {
  if (blockIdx.x >= copying)
    return fill_empty_rows(p, out, vectors,
                           (int64_t{blockIdx.x - copying} * kWarps + threadIdx.x / 32) * 32);
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * kWarps * 32 + threadIdx.x) / kRowThreads;
  if (row >= p.count) return;
  const int lane = threadIdx.x % 32;
  const int32_t* places = p.index + row * p.k;
  if (!__any_sync(0xffffffffu, lane < p.k && places[lane] >= 0)) return;
  for (int64_t first = threadIdx.x % kRowThreads; first < vectors; first += kRowThreads * kVecs) {
    uint4 v[kVecs];
#pragma unroll
    for (int i = 0; i < kVecs; ++i)
      if (first + i * kRowThreads < vectors) v[i] = x[row * vectors + first + i * kRowThreads];
    for (int j = 0; j < p.k; ++j) {
      const int32_t place = __ldg(places + j);
      if (place < 0) continue;
      uint4* to = out + place * vectors + first;
#pragma unroll
      for (int i = 0; i < kVecs; ++i)
        if (first + i * kRowThreads < vectors) to[i * kRowThreads] = v[i];
    }
  }
  if (p.out8.data == nullptr) return;
  for (int64_t tile = threadIdx.x % kRowThreads; tile < tiles(p.cols); tile += kRowThreads) {
    const float scale = p.x8.scales[row * p.x8.row_stride + tile * p.x8.tile_stride];
    for (int j = 0; j < p.k; ++j)
      if (const int32_t place = __ldg(places + j); place >= 0)
        p.out8.scales[place * p.out8.row_stride + tile * p.out8.tile_stride] = scale;
  }
}

template <int kRowThreads, int kVecs>
void launch_scatter(const ScatterRowsParams& p, cudaStream_t stream) {
  const bool fp8_rows = p.out8.data != nullptr;
  const auto* x =
      fp8_rows ? reinterpret_cast<const uint4*>(p.x8.data) : reinterpret_cast<const uint4*>(p.x);
  auto* out = fp8_rows ? reinterpret_cast<uint4*>(p.out8.data) : reinterpret_cast<uint4*>(p.out);
  const auto copying = static_cast<unsigned>(ceil_div(p.count * kRowThreads, kWarps * 32));
  const auto filling =
      static_cast<unsigned>(p.filled != nullptr ? ceil_div(p.capacity, kWarps * 32) : 0);
  scatter_kernel<kRowThreads, kVecs><<<copying + filling, kWarps * 32, 0, stream>>>(
      p, x, out, p.cols / (fp8_rows ? 16 : 8), copying);
}

// kUnroll: rows of a sum whose loads are in flight together.
template <int kUnroll>
__global__ void __launch_bounds__(kWarps * 32) sum_kernel(SumRowsParams p) {
  __shared__ int32_t index[kWarps][kMaxTopK];
  __shared__ float weight[kWarps][kMaxTopK];
  const int64_t row = warp_row();
  if (row >= p.rows) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t mine = lane < p.k ? p.index[row * p.k + lane] : -1;
  const unsigned present = __ballot_sync(0xffffffffu, mine >= 0);
  if (mine >= 0) {
    const int at = __popc(present & ((1u << lane) - 1));
    index[warp][at] = mine;
    weight[warp][at] = p.weights != nullptr ? p.weights[mine] : 1.0f;
  }
  __syncwarp();
  const int count = __popc(present);
  for (int64_t c = lane * kVec; c < p.cols; c += 32 * kVec) {
    float sum[kVec] = {};
    for (int first = 0; first < count; first += kUnroll) {
      uint4 raw[kUnroll];
#pragma unroll
      for (int j = 0; j < kUnroll; ++j)
        if (first + j < count)
          raw[j] = *reinterpret_cast<const uint4*>(p.x + index[warp][first + j] * p.cols + c);
#pragma unroll
      for (int j = 0; j < kUnroll; ++j) {
        if (first + j >= count) continue;
        float x[kVec];
        unpack8(raw[j], x);
        const float w = weight[warp][first + j];
#pragma unroll
        for (int i = 0; i < kVec; ++i) sum[i] += w * x[i];
      }
    }
    if (p.addend != nullptr) {
      float x[kVec];
      load8(p.addend + row * p.cols + c, x);
#pragma unroll
      for (int i = 0; i < kVec; ++i) sum[i] += x[i];
    }
    store8(p.out + row * p.cols + c, sum);
  }
}

// What gathering and scattering have in common; `some`: there are rows.
template <class Params>
Status check_rows(const char* kernel, const Params& p, bool some) {
  const bool fp8_rows = p.out8.data != nullptr;
  const void* x = fp8_rows ? static_cast<const void*>(p.x8.data) : p.x;
  const void* out = fp8_rows ? static_cast<const void*>(p.out8.data) : p.out;
  Status bad = check(
      kernel, {{p.capacity >= 0 && p.capacity <= INT32_MAX, "capacity is not within 0 to 2^31 - 1"},
               {p.cols >= 0 && p.cols % (fp8_rows ? 16 : 8) == 0,
                fp8_rows ? "cols is not a multiple of 16" : "cols is not a multiple of 8"},
               {(p.x == nullptr || p.x8.data == nullptr) && (p.out == nullptr || !fp8_rows),
                "both BF16 and FP8 are given"}});
  if (!bad.ok() || !some) return bad;
  return check(kernel,
               {{p.index != nullptr, "the row index is null"},
                {x != nullptr, "x is null, or of another type than out"},
                {out != nullptr, "out is null"},
                {aligned(x) && aligned(out), "x or out is not 16-byte aligned"},
                {!fp8_rows || (p.x8.scales && p.out8.scales), "scales are null"},
                {!fp8_rows || (p.x8.cols == p.cols && p.out8.cols == p.cols),
                 "cols differs from that of the FP8 view"},
                {!fp8_rows || p.out8.rows >= p.capacity, "the FP8 output has too few rows"}});
}

}  // namespace

Status gather_rows(const char* kernel, const GatherRowsParams& p, cudaStream_t stream) {
  const bool some = p.capacity > 0 && p.cols > 0;
  if (Status bad =
          check(kernel, {{p.divisor >= 1 && p.divisor <= kMaxTopK, "k is not within 1 to 32"}});
      !bad.ok())
    return bad;
  if (Status bad = check_rows(kernel, p, some); !bad.ok() || !some) return bad;
  const unsigned blocks = row_blocks(p.capacity);
  if (p.out8.data != nullptr)
    gather_kernel<<<blocks, kWarps * 32, 0, stream>>>(p, reinterpret_cast<const uint4*>(p.x8.data),
                                                      reinterpret_cast<uint4*>(p.out8.data),
                                                      p.cols / 16);
  else
    gather_kernel<<<blocks, kWarps * 32, 0, stream>>>(p, reinterpret_cast<const uint4*>(p.x),
                                                      reinterpret_cast<uint4*>(p.out), p.cols / 8);
  return launched(kernel);
}

Status scatter_rows(const char* kernel, const ScatterRowsParams& p, cudaStream_t stream) {
  const bool some = p.capacity > 0 && p.cols > 0;
  if (Status bad = check(kernel, {{p.count >= 0 && p.count <= INT32_MAX / kMaxTopK,
                                   "the rows are not within 0 to 2^26"},
                                  {p.k >= 1 && p.k <= kMaxTopK, "k is not within 1 to 32"}});
      !bad.ok())
    return bad;
  if (Status bad = check_rows(kernel, p, some); !bad.ok() || !some) return bad;
  if (p.count == 0 && p.filled == nullptr) return {};
  const int64_t vectors = p.cols / (p.out8.data != nullptr ? 16 : 8);
  if (vectors <= 128)
    launch_scatter<32, 4>(p, stream);
  else if (vectors <= 256)
    launch_scatter<64, 4>(p, stream);
  else if (vectors <= 512)
    launch_scatter<128, 4>(p, stream);
  else
    launch_scatter<256, 4>(p, stream);
  return launched(kernel);
}

Status sum_rows(const char* kernel, const SumRowsParams& p, cudaStream_t stream) {
  const bool some = p.rows > 0 && p.cols > 0;
  Status bad = check(
      kernel,
      {{p.rows >= 0 && p.rows <= INT32_MAX, "rows are not within 0 to 2^31 - 1"},
       {p.k >= 1 && p.k <= kMaxTopK, "k is not within 1 to 32"},
       {p.cols >= 0 && p.cols % kVec == 0, "cols is not a multiple of 8"},
       {!some || p.index != nullptr, "the row index is null"},
       {!some || p.out != nullptr, "out is null"},
       {aligned(p.x) && aligned(p.addend) && aligned(p.out), "a tensor is not 16-byte aligned"}});
  if (!bad.ok() || !some) return bad;
  sum_kernel<8><<<row_blocks(p.rows), kWarps * 32, 0, stream>>>(p);
  return launched(kernel);
}

}  // namespace orrery::kernels
