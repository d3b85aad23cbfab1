#include <cooperative_groups.h>

#include <algorithm>
#include <cfloat>

#include "kernels/base/exp2.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/gemm/bulk_copy.cuh"
#include "kernels/gemm/pipeline.cuh"
#include "kernels/loss/cross_entropy.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 512;  // of a block, at most
constexpr int kMaxBlocks = 8;  // of a cluster, on any GPU that has clusters
constexpr int64_t kPartBytes = 73 << 10;
constexpr int kChunks = 4;              // of a block's part of a row, each copied on its own
constexpr uint32_t kNone = 0xff80ff80;  // two of -inf

__device__ float exp_approx(float x) { return exp2_approx(x * kLog2E); }

__device__ uint32_t max_bf16x2(uint32_t a, uint32_t b) {
  const __nv_bfloat162 m = __hmax2(*reinterpret_cast<const __nv_bfloat162*>(&a),
                                   *reinterpret_cast<const __nv_bfloat162*>(&b));
  return *reinterpret_cast<const uint32_t*>(&m);
}

// Contiguous vectors of a row that a block has, and of those a chunk.
struct Part {
  int begin, count;  // in the row
  int per_chunk;
  __device__ Part(int vectors, int rank, int blocks) {
    const int share = (vectors + blocks - 1) / blocks;
    begin = min(rank * share, vectors);
    count = min(share, vectors - begin);
    per_chunk = (count + kChunks - 1) / kChunks;
  }
  __device__ int chunk_begin(int chunk) const { return min(chunk * per_chunk, count); }
};

// The largest logit so far, finite so that logits of -inf give 0 rather than NaN, and the sum of
// exp(logit - largest).
struct Softmax {
  float largest, sum;

  __device__ void raise(float m) {
    sum *= exp_approx(largest - m);
    largest = m;
  }
  // Of kCount vectors at once.
  template <int kCount>
  __device__ void add(const uint4 (&raw)[kCount]) {
    uint32_t m = kNone;
#pragma unroll
    for (const uint4& v : raw)
      m = max_bf16x2(max_bf16x2(max_bf16x2(m, v.x), v.y), max_bf16x2(v.z, v.w));
    raise(fmaxf(fmaxf(largest, __uint_as_float(m << 16)), __uint_as_float(m & 0xffff0000u)));
#pragma unroll
    for (const uint4& v : raw) {
      float x[kVec];
      unpack8(v, x);
#pragma unroll
      for (int j = 0; j < kVec; ++j) sum += exp_approx(x[j] - largest);
    }
  }
  // Of all lanes of a warp.
  __device__ void reduce() {
    raise(warp_reduce(largest, Max{}));
    sum = warp_reduce(sum, Sum{});
  }
};

// exp(logit - largest) · factor, less `scale` at the label if that is in this vector.
__device__ uint4 gradient(const uint4& raw, float largest, float factor, int label, float scale) {
  float x[kVec];
  unpack8(raw, x);
#pragma unroll
  for (int j = 0; j < kVec; ++j) x[j] = exp_approx(x[j] - largest) * factor;
  if (label >= 0 && label < kVec) {
#pragma unroll
    for (int j = 0; j < kVec; ++j) x[j] -= label == j ? scale : 0;
  }
  return pack8(x);
}

// A cluster of blocks per row, which it keeps in shared memory between the two passes: the row is
// read once.
template <int kBlocksOfSm, int kUnroll>
__global__ void __launch_bounds__(kThreads, kBlocksOfSm)
    cross_entropy_kernel(CrossEntropyParams p) {
  extern __shared__ uint4 vectors[];
  __shared__ Softmax of_warps[kMaxBlocks * kThreads / 32];  // of the cluster
  __shared__ uint64_t copied[kChunks];
  const auto cluster = cooperative_groups::this_cluster();
  const int blocks = static_cast<int>(cluster.num_blocks());
  const int rank = static_cast<int>(cluster.block_rank());
  const int64_t r = blockIdx.x / static_cast<unsigned>(blocks);
  const Part part(static_cast<int>(p.vocab / kVec), rank, blocks);
  uint4* row = reinterpret_cast<uint4*>(p.logits + r * p.vocab) + part.begin;
  const int label = p.labels[r], thread = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const bool reports = rank == 0 && thread == 0;
  if (label < 0) {
    for (int i = thread; i < part.count; i += threads) row[i] = uint4{};
    if (reports) p.row_loss[r] = 0;
    return;
  }
  cluster.barrier_arrive();
  if (thread == 0) {
    for (int c = 0; c < kChunks; ++c) barrier_init(shared_address(&copied[c]), 1);
    fence_barrier_init();
    for (int c = 0; c < kChunks; ++c) {
      const int begin = part.chunk_begin(c), count = part.chunk_begin(c + 1) - begin;
      const uint32_t bytes = static_cast<uint32_t>(count) * sizeof(uint4);
      barrier_arrive_expecting(shared_address(&copied[c]), bytes);
      if (count > 0)
        bulk_copy_bytes(shared_address(vectors + begin), row + begin, bytes,
                        shared_address(&copied[c]));
    }
  }
  const float label_logit =
      reports && label < p.vocab ? __bfloat162float(p.logits[r * p.vocab + label]) : NAN;
  __syncthreads();
  Softmax softmax{-FLT_MAX, 0};
  for (int c = 0; c < kChunks; ++c) {
    barrier_wait(shared_address(&copied[c]), 0);
    const int end = part.chunk_begin(c + 1);
    for (int i = part.chunk_begin(c) + thread; i < end; i += kUnroll * threads) {
      uint4 raw[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u)
        raw[u] = i + u * threads < end ? vectors[i + u * threads]
                                       : make_uint4(kNone, kNone, kNone, kNone);
      softmax.add(raw);
    }
  }
  softmax.reduce();
  cluster.barrier_wait();  // all blocks have started: their shared memory is theirs
  const int warps = threads / 32, lane = thread % 32;
  if (lane < blocks) cluster.map_shared_rank(of_warps, lane)[rank * warps + thread / 32] = softmax;
  cluster.sync();  // the label's logit, too, has been read before its gradient is written
  softmax = {-FLT_MAX, 0};
  for (int i = lane; i < blocks * warps; i += 32) {
    const Softmax other = of_warps[i];
    const float largest = fmaxf(softmax.largest, other.largest);
    softmax.raise(largest);
    softmax.sum += other.sum * exp_approx(other.largest - largest);
  }
  softmax.reduce();
  if (reports) p.row_loss[r] = logf(softmax.sum) + (softmax.largest - label_logit);
  const float factor = p.scale / softmax.sum;
#pragma unroll kUnroll
  for (int i = thread; i < part.count; i += threads)
    row[i] =
        gradient(vectors[i], softmax.largest, factor, label - (part.begin + i) * kVec, p.scale);
}

__global__ void __launch_bounds__(kThreads) sum_loss_kernel(CrossEntropyParams p) {
  double sum = 0;
  for (int64_t r = threadIdx.x; r < p.rows; r += kThreads) sum += p.row_loss[r];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *p.loss_sum += static_cast<float>(sum);
}

// As few blocks for a row as leave room for three on a multiprocessor, while one computes and
// another is copied.
template <int kBlocksOfSm, int kUnroll>
Status launch(const CrossEntropyParams& p, int64_t part_bytes, cudaStream_t stream) {
  const int64_t vectors = p.vocab / kVec, part_vectors = part_bytes / int64_t{sizeof(uint4)};
  int64_t blocks = 1;
  while (blocks < kMaxBlocks && ceil_div(vectors, blocks) > part_vectors) blocks *= 2;
  const int64_t part = ceil_div(vectors, blocks);
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(p.rows * blocks);
  config.blockDim = static_cast<unsigned>(std::min<int64_t>(kThreads, 32 * ceil_div(part, 32 * 8)));
  config.dynamicSmemBytes = static_cast<std::size_t>(part) * sizeof(uint4);
  config.stream = stream, config.attrs = &cluster, config.numAttrs = 1;
  const auto kernel = cross_entropy_kernel<kBlocksOfSm, kUnroll>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(config.dynamicSmemBytes));
  cudaLaunchKernelEx(&config, kernel, p);
  return launched("cross_entropy");
}

}  // namespace

Status cross_entropy(const CrossEntropyParams& p, cudaStream_t stream) {
  Status bad = check("cross_entropy",
                     {{p.rows >= 0 && p.rows <= INT32_MAX, "rows is negative or above 2^31 - 1"},
                      {p.vocab > 0 && p.vocab % kVec == 0, "vocab is not a positive multiple of 8"},
                      {p.vocab <= kMaxVocab, "vocab is above 917504"},
                      {p.rows * kMaxBlocks <= INT32_MAX, "rows is above 2^28"},
                      {p.rows == 0 || (p.logits && p.labels && p.row_loss && p.loss_sum),
                       "logits, labels, row_loss or loss_sum is null"},
                      {aligned(p.logits), "logits is not 16-byte aligned"}});
  if (!bad.ok() || p.rows == 0) return bad;
  if (Status s = launch<3, 1>(p, kPartBytes, stream); !s.ok()) return s;
  sum_loss_kernel<<<1, kThreads, 0, stream>>>(p);
  return launched("cross_entropy");
}

}  // namespace orrery::kernels
