#include "kernels/base/launch.h"
#include "kernels/loss/cross_entropy_parts.h"
#include "kernels/loss/loss_sum.h"
#include "kernels/loss/softmax.cuh"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 512;  // of a block, at most
constexpr int kUnroll = 4;     // vectors of a thread under way
constexpr int kNumbers = 3;    // of a row

// A block per row.
__global__ void __launch_bounds__(kThreads) part_kernel(CrossEntropyPartParams p) {
  __shared__ Softmax of_warps[32];
  const int64_t r = blockIdx.x;
  const auto* row = reinterpret_cast<const uint4*>(p.logits + r * p.vocab);
  const int64_t vectors = p.vocab / kVec;
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  Softmax softmax = Softmax::empty();
  for (int64_t i = thread; i < vectors; i += kUnroll * threads) {
    uint4 raw[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
      raw[u] = i + u * threads < vectors ? row[i + u * threads] : no_logits();
    softmax.add(raw);
  }
  softmax.reduce();
  if (thread % 32 == 0) of_warps[thread / 32] = softmax;
  __syncthreads();
  if (thread >= 32) return;
  softmax = thread < threads / 32 ? of_warps[thread] : Softmax::empty();
  softmax.reduce();
  if (thread > 0) return;
  const int label = p.labels[r];
  float* out = p.parts + r * kNumbers;
  out[0] = softmax.largest;
  out[1] = softmax.sum;
  out[2] = label < 0         ? 0.0F
           : label < p.vocab ? __bfloat162float(p.logits[r * p.vocab + label])
                             : NAN;
}

// A block per row, whose threads all merge the ranks' numbers.
__global__ void __launch_bounds__(kThreads) merge_kernel(CrossEntropyMergeParams p) {
  const int64_t r = blockIdx.x;
  Softmax softmax = Softmax::empty();
  float label_logit = 0;
  for (int64_t rank = 0; rank < p.ranks; ++rank) {
    const float* part = p.parts + (rank * p.rows + r) * kNumbers;
    softmax.add(Softmax{part[0], part[1]});
    label_logit += part[2];
  }
  if (threadIdx.x == 0) p.row_loss[r] = logf(softmax.sum) + (softmax.largest - label_logit);
  const float factor = p.scale / softmax.sum;
  const int label = p.labels[r];
  auto* row = reinterpret_cast<uint4*>(p.logits + r * p.vocab);
  const int64_t vectors = p.vocab / kVec;
#pragma unroll kUnroll
  for (int64_t i = threadIdx.x; i < vectors; i += blockDim.x)
    row[i] = softmax_gradient(row[i], softmax.largest, factor, static_cast<int>(label - i * kVec),
                              p.scale);
}

unsigned threads_of(int64_t vocab) {
  return static_cast<unsigned>(std::min<int64_t>(kThreads, 32 * ceil_div(vocab / kVec, 32)));
}

}  // namespace

Status cross_entropy_part(const CrossEntropyPartParams& p, cudaStream_t stream) {
  Status bad =
      check("cross_entropy_part",
            {{p.rows >= 0 && p.rows <= INT32_MAX, "rows is negative or above 2^31 - 1"},
             {p.vocab > 0 && p.vocab % kVec == 0, "vocab is not a positive multiple of 8"},
             {p.vocab <= INT32_MAX, "vocab is above 2^31 - 1"},
             {p.rows == 0 || (p.logits && p.labels && p.parts), "logits, labels or parts is null"},
             {aligned(p.logits), "logits is not 16-byte aligned"}});
  if (!bad.ok() || p.rows == 0) return bad;
  part_kernel<<<static_cast<unsigned>(p.rows), threads_of(p.vocab), 0, stream>>>(p);
  return launched("cross_entropy_part");
}

Status cross_entropy_merge(const CrossEntropyMergeParams& p, cudaStream_t stream) {
  Status bad = check("cross_entropy_merge",
                     {{p.rows >= 0 && p.rows <= INT32_MAX, "rows is negative or above 2^31 - 1"},
                      {p.vocab > 0 && p.vocab % kVec == 0, "vocab is not a positive multiple of 8"},
                      {p.vocab <= INT32_MAX, "vocab is above 2^31 - 1"},
                      {p.ranks >= 1, "ranks is not positive"},
                      {p.rows == 0 || (p.logits && p.labels && p.parts && p.row_loss),
                       "logits, labels, parts or row_loss is null"},
                      {aligned(p.logits), "logits is not 16-byte aligned"}});
  if (!bad.ok() || p.rows == 0) return bad;
  merge_kernel<<<static_cast<unsigned>(p.rows), threads_of(p.vocab), 0, stream>>>(p);
  if (Status s = launched("cross_entropy_merge"); !s.ok() || p.loss_sum == nullptr) return s;
  return add_loss_sum(p.rows, p.row_loss, p.loss_sum, stream);
}

}  // namespace orrery::kernels
