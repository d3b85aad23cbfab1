#include <cfloat>

#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/loss/cross_entropy.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kUnroll = 4;  // loads under way per thread

__device__ void ignore_row(const CrossEntropyParams& p, bf16* row) {
  for (int64_t i = threadIdx.x; i < p.vocab / kVec; i += kThreads)
    reinterpret_cast<uint4*>(row)[i] = make_uint4(0, 0, 0, 0);
  if (threadIdx.x == 0) p.row_loss[blockIdx.x] = 0;
}

// The largest of this thread's logits, and its sum of exp(logit - largest), in one pass.
__device__ float2 largest_and_sum(const bf16* row, int64_t vocab) {
  float largest = -FLT_MAX, sum = 0;  // finite, so that logits of -inf give 0 rather than NaN
#pragma unroll kUnroll
  for (int64_t i = threadIdx.x; i < vocab / kVec; i += kThreads) {
    float x[kVec];
    load8(row + i * kVec, x);
    float m = largest;
#pragma unroll
    for (int j = 0; j < kVec; ++j) m = fmaxf(m, x[j]);
    sum *= __expf(largest - m);
#pragma unroll
    for (int j = 0; j < kVec; ++j) sum += __expf(x[j] - m);
    largest = m;
  }
  return make_float2(largest, sum);
}

// One block per row. The second pass finds the row in L2.
__global__ void __launch_bounds__(kThreads) cross_entropy_kernel(CrossEntropyParams p) {
  bf16* row = p.logits + blockIdx.x * p.vocab;
  const int64_t label = p.labels[blockIdx.x];
  if (label < 0) return ignore_row(p, row);
  const float label_logit = label < p.vocab ? __bfloat162float(row[label]) : NAN;
  const float2 mine = largest_and_sum(row, p.vocab);
  const float largest = block_max<kThreads>(mine.x);
  const float sum = block_sum<kThreads>(mine.y * __expf(mine.x - largest));
  if (threadIdx.x == 0) p.row_loss[blockIdx.x] = logf(sum) + (largest - label_logit);
  const float factor = p.scale / sum;
#pragma unroll kUnroll
  for (int64_t i = threadIdx.x; i < p.vocab / kVec; i += kThreads) {
    float x[kVec];
    load8(row + i * kVec, x);
#pragma unroll
    for (int j = 0; j < kVec; ++j)
      x[j] = __expf(x[j] - largest) * factor - (i * kVec + j == label ? p.scale : 0);
    store8(row + i * kVec, x);
  }
}

__global__ void __launch_bounds__(kThreads) sum_loss_kernel(CrossEntropyParams p) {
  double sum = 0;
  for (int64_t r = threadIdx.x; r < p.rows; r += kThreads) sum += p.row_loss[r];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *p.loss_sum += static_cast<float>(sum);
}

}  // namespace

Status cross_entropy(const CrossEntropyParams& p, cudaStream_t stream) {
  Status bad = check("cross_entropy",
                     {{p.rows >= 0 && p.rows <= INT32_MAX, "rows is negative or above 2^31 - 1"},
                      {p.vocab > 0 && p.vocab % kVec == 0, "vocab is not a positive multiple of 8"},
                      {p.rows == 0 || (p.logits && p.labels && p.row_loss && p.loss_sum),
                       "logits, labels, row_loss or loss_sum is null"},
                      {aligned(p.logits), "logits is not 16-byte aligned"}});
  if (!bad.ok() || p.rows == 0) return bad;
  cross_entropy_kernel<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  if (Status s = launched("cross_entropy"); !s.ok()) return s;
  sum_loss_kernel<<<1, kThreads, 0, stream>>>(p);
  return launched("cross_entropy");
}

}  // namespace orrery::kernels
