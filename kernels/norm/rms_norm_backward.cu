#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/norm/rms_norm.h"

namespace orrery::kernels {
namespace {

// A thread's share of one row.
template <int kVecs>
struct Share {
  uint4 x[kVecs], dy[kVecs], residual[kVecs];
};

template <int kThreads, int kVecs>
__device__ void load_share(const RmsNormBackwardParams& p, int64_t row, Share<kVecs>& s) {
  const int vectors = static_cast<int>(p.cols / kVec);
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const int i = v * kThreads + threadIdx.x;
    s.x[v] = s.dy[v] = s.residual[v] = make_uint4(0, 0, 0, 0);
    if (i >= vectors) continue;
    s.x[v] = reinterpret_cast<const uint4*>(p.x + row * p.cols)[i];
    s.dy[v] = reinterpret_cast<const uint4*>(p.dy + row * p.ld_dy)[i];
    if (p.residual_grad != nullptr)
      s.residual[v] = reinterpret_cast<const uint4*>(p.residual_grad + row * p.cols)[i];
  }
}

// Sums of both values over the kThreads threads of the group threadIdx.y.
template <int kThreads, int kGroups>
__device__ float2 group_sum(float a, float b) {
  a = warp_reduce(a, Sum{});
  b = warp_reduce(b, Sum{});
  if constexpr (kThreads == 32) return make_float2(a, b);
  constexpr int kWarps = kThreads / 32;
  __shared__ float2 of_warp[kGroups][kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  __syncthreads();  // of_warp may still be read for the previous row
  if (lane == 0) of_warp[threadIdx.y][warp] = make_float2(a, b);
  __syncthreads();
  const float2 mine = lane < kWarps ? of_warp[threadIdx.y][lane] : make_float2(0, 0);
  return make_float2(warp_reduce(mine.x, Sum{}), warp_reduce(mine.y, Sum{}));
}

template <int kThreads, int kVecs>
__device__ void store_share(const RmsNormBackwardParams& p, int64_t row, const Share<kVecs>& s,
                            float squares, float dot, float (&weight_grad)[kVecs][kVec]) {
  const int vectors = static_cast<int>(p.cols / kVec);
  const float inverse_cols = 1 / static_cast<float>(p.cols);
  const float inverse = rsqrtf(squares * inverse_cols + p.eps);
  const float mean = dot * inverse * inverse_cols;  // of g · xhat
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i >= vectors) continue;
    float x[kVec], dy[kVec], residual[kVec], weight[kVec], dx[kVec];
    unpack8(s.x[v], x);
    unpack8(s.dy[v], dy);
    unpack8(s.residual[v], residual);
    load8(p.weight + i * kVec, weight);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      const float xhat = x[j] * inverse;
      dx[j] = residual[j] + inverse * (dy[j] * weight[j] - xhat * mean);
      weight_grad[v][j] += dy[j] * xhat;
    }
    store8(p.dx + row * p.cols + i * kVec, dx);
  }
}

// Adds up what the groups accumulated, in their order, and stores it as the block's partial.
template <int kThreads, int kVecs, int kGroups>
__device__ void store_partial(const RmsNormBackwardParams& p,
                              const float (&weight_grad)[kVecs][kVec]) {
  const int vectors = static_cast<int>(p.cols / kVec);
  float* partial = p.partial + static_cast<int64_t>(blockIdx.x) * p.cols;
  for (int group = 0; group < kGroups; ++group) {
    if (static_cast<int>(threadIdx.y) == group) {
#pragma unroll
      for (int v = 0; v < kVecs; ++v) {
        const int i = v * kThreads + threadIdx.x;
        if (i >= vectors) continue;
        float sum[kVec] = {};
        if (group > 0) load8(partial + i * kVec, sum);
#pragma unroll
        for (int j = 0; j < kVec; ++j) sum[j] += weight_grad[v][j];
        store8(partial + i * kVec, sum);
      }
    }
    if (kGroups > 1) __syncthreads();
  }
}

// kGroups rows at a time, kThreads threads each. Weight gradients stay in registers. With
// kPrefetch a group's next row is on its way while it reduces the present one.
template <int kThreads, int kVecs, int kGroups, bool kPrefetch>
__global__ void __launch_bounds__(kThreads* kGroups) backward_kernel(RmsNormBackwardParams p) {
  const int64_t begin = norm_block_begin(blockIdx.x, p.rows);
  const int64_t end = norm_block_begin(blockIdx.x + 1, p.rows);
  const int vectors = static_cast<int>(p.cols / kVec);
  float weight_grad[kVecs][kVec] = {};
  Share<kVecs> now, next;
  int64_t row = begin + threadIdx.y;
  if (kPrefetch && row < end) load_share<kThreads>(p, row, next);
  // All groups make the same number of turns: group_sum has barriers.
  for (int64_t first = begin; first < end; first += kGroups, row += kGroups) {
    float squares = 0, dot = 0;
    if (row < end) {
      if (kPrefetch)
        now = next;
      else
        load_share<kThreads>(p, row, now);
      if (kPrefetch && row + kGroups < end) load_share<kThreads>(p, row + kGroups, next);
#pragma unroll
      for (int v = 0; v < kVecs; ++v) {
        const int i = v * kThreads + threadIdx.x;
        if (i >= vectors) continue;
        float x[kVec], dy[kVec], weight[kVec];
        unpack8(now.x[v], x);
        unpack8(now.dy[v], dy);
        load8(p.weight + i * kVec, weight);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          squares += x[j] * x[j];
          dot += dy[j] * weight[j] * x[j];
        }
      }
    }
    const float2 sums = group_sum<kThreads, kGroups>(squares, dot);
    if (row < end) store_share<kThreads>(p, row, now, sums.x, sums.y, weight_grad);
  }
  store_partial<kThreads, kVecs, kGroups>(p, weight_grad);
}

template <int kThreads, int kVecs, int kGroups, bool kPrefetch = true>
void launch(const RmsNormBackwardParams& p, cudaStream_t stream) {
  backward_kernel<kThreads, kVecs, kGroups, kPrefetch>
      <<<kNormBlocks, dim3(kThreads, kGroups), 0, stream>>>(p);
}

constexpr int kReduceCols = 32, kReduceGroups = 8;

__global__ void reduce_kernel(RmsNormReduceParams p) {
  __shared__ float sums[kReduceGroups][kReduceCols];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kReduceCols + threadIdx.x;
  float sum = 0;
  if (c < p.cols) {
#pragma unroll 4
    for (int b = threadIdx.y; b < kNormBlocks; b += kReduceGroups) sum += p.partial[b * p.cols + c];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= p.cols) return;
  for (int g = 1; g < kReduceGroups; ++g) sum += sums[g][threadIdx.x];
  p.weight_grad[c] += sum;
}

}  // namespace

Status rms_norm_backward(const RmsNormBackwardParams& p, cudaStream_t stream) {
  Status bad = check(
      "rms_norm_backward",
      {{p.rows >= 0, "rows is negative"},
       {p.cols > 0 && p.cols % kVec == 0, "cols is not a positive multiple of 8"},
       {p.cols <= kMaxNormCols, "cols is above 16384"},
       {p.ld_dy >= p.cols && p.ld_dy % kVec == 0, "ld_dy is below cols or not a multiple of 8"},
       {p.rows == 0 || (p.dy && p.x && p.weight && p.dx), "dy, x, weight or dx is null"},
       {p.partial != nullptr, "partial is null"},
       {aligned(p.dy) && aligned(p.x) && aligned(p.weight) && aligned(p.residual_grad) &&
            aligned(p.dx) && aligned(p.partial),
        "dy, x, weight, residual_grad, dx or partial is not 16-byte aligned"}});
  if (!bad.ok()) return bad;
  const int64_t vectors = p.cols / kVec;
  if (vectors <= 32)
    launch<32, 1, 16>(p, stream);
  else if (vectors <= 64)
    launch<64, 1, 8>(p, stream);
  else if (vectors <= 128)
    launch<128, 1, 4>(p, stream);
  else if (vectors <= 256)
    launch<256, 1, 2>(p, stream);
  else if (vectors <= 512)
    launch<512, 1, 1>(p, stream);
  else if (vectors <= 1024)
    launch<512, 2, 1>(p, stream);
  else
    launch<512, 4, 1, false>(p, stream);  // registers hold one row
  return launched("rms_norm_backward");
}

Status rms_norm_reduce(const RmsNormReduceParams& p, cudaStream_t stream) {
  Status bad = check("rms_norm_reduce", {{p.cols > 0, "cols is not positive"},
                                         {p.partial != nullptr, "partial is null"},
                                         {p.weight_grad != nullptr, "weight_grad is null"}});
  if (!bad.ok()) return bad;
  reduce_kernel<<<static_cast<unsigned>(ceil_div(p.cols, kReduceCols)),
                  dim3(kReduceCols, kReduceGroups), 0, stream>>>(p);
  return launched("rms_norm_reduce");
}

}  // namespace orrery::kernels
