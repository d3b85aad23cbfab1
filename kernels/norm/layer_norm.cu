#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/norm/layer_norm.h"

namespace orrery::kernels {
namespace {

// One block per row, which it keeps in registers: kVecs vectors a thread.
template <int kThreads, int kVecs>
__global__ void __launch_bounds__(kThreads) forward_kernel(LayerNormParams p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * p.cols;
  const int vectors = static_cast<int>(p.cols / kVec);
  const float n = static_cast<float>(p.cols);
  float s[kVecs][kVec];
  float sum = 0;
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i >= vectors) continue;
    const int64_t at = row + i * kVec;
    load8(p.x + at, s[v]);
#pragma unroll
    for (int a = 0; a < 2; ++a) {
      if (p.addend[a] == nullptr) continue;
      float addend[kVec];
      load8(p.addend[a] + at, addend);
#pragma unroll
      for (int j = 0; j < kVec; ++j) s[v][j] += addend[j];
    }
    // The norm must see what the backward will see.
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      s[v][j] = round_bf16(s[v][j]);
      sum += s[v][j];
    }
    if (p.sum != nullptr) store8(p.sum + at, s[v]);
  }
  const float mean = block_sum<kThreads>(sum) / n;
  float squares = 0;
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    if (v * kThreads + static_cast<int>(threadIdx.x) >= vectors) continue;
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      s[v][j] -= mean;
      squares += s[v][j] * s[v][j];
    }
  }
  const float inverse = rsqrtf(block_sum<kThreads>(squares) / n + p.eps);
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i >= vectors) continue;
    float weight[kVec], bias[kVec] = {};
    load8(p.weight + i * kVec, weight);
    if (p.bias != nullptr) load8(p.bias + i * kVec, bias);
#pragma unroll
    for (int j = 0; j < kVec; ++j) s[v][j] = s[v][j] * inverse * weight[j] + bias[j];
    store8(p.out + row + i * kVec, s[v]);
  }
}

template <int kThreads, int kVecs>
void forward(const LayerNormParams& p, cudaStream_t stream) {
  forward_kernel<kThreads, kVecs><<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
}

// A block's rows one after the other; the sums of weight and bias gradients stay in registers.
template <int kThreads, int kVecs>
__global__ void __launch_bounds__(kThreads) backward_kernel(LayerNormBackwardParams p) {
  const int vectors = static_cast<int>(p.cols / kVec);
  const float n = static_cast<float>(p.cols);
  float weight_sum[kVecs][kVec] = {}, bias_sum[kVecs][kVec] = {};
  const int64_t end = norm_block_begin(blockIdx.x + 1, p.rows);
  for (int64_t row = norm_block_begin(blockIdx.x, p.rows); row < end; ++row) {
    float x[kVecs][kVec], dy[kVecs][kVec];
    float sum = 0;
#pragma unroll
    for (int v = 0; v < kVecs; ++v) {
      const int i = v * kThreads + threadIdx.x;
      if (i >= vectors) continue;
      load8(p.x + row * p.cols + i * kVec, x[v]);
      load8(p.dy + row * p.ld_dy + i * kVec, dy[v]);
#pragma unroll
      for (int j = 0; j < kVec; ++j) sum += x[v][j];
    }
    const float mean = block_sum<kThreads>(sum) / n;
    float squares = 0, g_sum = 0, dot = 0;
#pragma unroll
    for (int v = 0; v < kVecs; ++v) {
      const int i = v * kThreads + threadIdx.x;
      if (i >= vectors) continue;
      float weight[kVec];
      load8(p.weight + i * kVec, weight);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        x[v][j] -= mean;
        const float g = dy[v][j] * weight[j];
        squares += x[v][j] * x[v][j];
        g_sum += g;
        dot += g * x[v][j];
      }
    }
    const float inverse = rsqrtf(block_sum<kThreads>(squares) / n + p.eps);
    const float g_mean = block_sum<kThreads>(g_sum) / n;
    const float dot_mean = block_sum<kThreads>(dot) * inverse / n;
#pragma unroll
    for (int v = 0; v < kVecs; ++v) {
      const int i = v * kThreads + threadIdx.x;
      if (i >= vectors) continue;
      float weight[kVec], dx[kVec] = {};
      load8(p.weight + i * kVec, weight);
      if (p.residual_grad != nullptr) load8(p.residual_grad + row * p.cols + i * kVec, dx);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        const float xhat = x[v][j] * inverse;
        dx[j] += inverse * (dy[v][j] * weight[j] - g_mean - xhat * dot_mean);
        weight_sum[v][j] += dy[v][j] * xhat;
        bias_sum[v][j] += dy[v][j];
      }
      store8(p.dx + row * p.cols + i * kVec, dx);
    }
  }
  float* partial = p.partial + static_cast<int64_t>(blockIdx.x) * p.cols * (p.bias ? 2 : 1);
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i >= vectors) continue;
    store8(partial + i * kVec, weight_sum[v]);
    if (p.bias) store8(partial + p.cols + i * kVec, bias_sum[v]);
  }
}

template <int kThreads, int kVecs>
void backward(const LayerNormBackwardParams& p, cudaStream_t stream) {
  backward_kernel<kThreads, kVecs><<<kNormBlocks, kThreads, 0, stream>>>(p);
}

constexpr int kReduceCols = 32, kReduceGroups = 8;

__global__ void reduce_kernel(LayerNormReduceParams p, int64_t width) {
  __shared__ float sums[kReduceGroups][kReduceCols];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kReduceCols + threadIdx.x;
  float sum = 0;
  if (c < width)
    for (int b = threadIdx.y; b < kNormBlocks; b += kReduceGroups) sum += p.partial[b * width + c];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= width) return;
  for (int g = 1; g < kReduceGroups; ++g) sum += sums[g][threadIdx.x];
  if (c < p.cols)
    p.weight_grad[c] += sum;
  else
    p.bias_grad[c - p.cols] += sum;
}

}  // namespace

Status layer_norm(const LayerNormParams& p, cudaStream_t stream) {
  const bool addends = p.addend[0] != nullptr || p.addend[1] != nullptr;
  Status bad = check(
      "layer_norm",
      {{p.rows >= 0 && p.rows <= INT32_MAX, "rows is negative or above 2^31 - 1"},
       {p.cols > 0 && p.cols % kVec == 0, "cols is not a positive multiple of 8"},
       {p.cols <= kMaxNormCols, "cols is above 16384"},
       {p.rows == 0 || (p.x && p.weight && p.out), "x, weight or out is null"},
       {p.rows == 0 || !addends || p.sum != nullptr, "sum is null although there is an addend"},
       {aligned(p.x) && aligned(p.addend[0]) && aligned(p.addend[1]) && aligned(p.weight) &&
            aligned(p.bias) && aligned(p.sum) && aligned(p.out),
        "x, addend, weight, bias, sum or out is not 16-byte aligned"}});
  if (!bad.ok() || p.rows == 0) return bad;
  const int64_t vectors = p.cols / kVec;
  if (vectors <= 32)
    forward<32, 1>(p, stream);
  else if (vectors <= 128)
    forward<128, 1>(p, stream);
  else if (vectors <= 512)
    forward<256, 2>(p, stream);
  else if (vectors <= 1024)
    forward<256, 4>(p, stream);
  else
    forward<512, 4>(p, stream);
  return launched("layer_norm");
}

Status layer_norm_backward(const LayerNormBackwardParams& p, cudaStream_t stream) {
  Status bad = check(
      "layer_norm_backward",
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
    backward<32, 1>(p, stream);
  else if (vectors <= 128)
    backward<128, 1>(p, stream);
  else if (vectors <= 512)
    backward<512, 1>(p, stream);
  else if (vectors <= 1024)
    backward<512, 2>(p, stream);
  else
    backward<1024, 2>(p, stream);
  return launched("layer_norm_backward");
}

Status layer_norm_reduce(const LayerNormReduceParams& p, cudaStream_t stream) {
  Status bad = check("layer_norm_reduce", {{p.cols > 0, "cols is not positive"},
                                           {p.partial != nullptr, "partial is null"},
                                           {p.weight_grad != nullptr, "weight_grad is null"}});
  if (!bad.ok()) return bad;
  const int64_t width = p.cols * (p.bias_grad != nullptr ? 2 : 1);
  reduce_kernel<<<static_cast<unsigned>(ceil_div(width, kReduceCols)),
                  dim3(kReduceCols, kReduceGroups), 0, stream>>>(p, width);
  return launched("layer_norm_reduce");
}

}  // namespace orrery::kernels
