#include <cooperative_groups.h>

#include <algorithm>

#include "kernels/base/launch.h"
#include "kernels/gemm/bulk_copy.cuh"
#include "kernels/gemm/pipeline.cuh"
#include "kernels/loss/cross_entropy.h"
#include "kernels/loss/loss_sum.h"
#include "kernels/loss/softmax.cuh"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 512;  // of a block, at most
constexpr int kMaxBlocks = 8;  // of a cluster, on any GPU that has clusters
constexpr int64_t kPartBytes = 73 << 10;
constexpr int kChunks = 4;  // of a block's part of a row, each copied on its own

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
  Softmax softmax = Softmax::empty();
  for (int c = 0; c < kChunks; ++c) {
    barrier_wait(shared_address(&copied[c]), 0);
    const int end = part.chunk_begin(c + 1);
    for (int i = part.chunk_begin(c) + thread; i < end; i += kUnroll * threads) {
      uint4 raw[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u)
        raw[u] = i + u * threads < end ? vectors[i + u * threads] : no_logits();
      softmax.add(raw);
    }
  }
  softmax.reduce();
  cluster.barrier_wait();  // all blocks have started: their shared memory is theirs
  const int warps = threads / 32, lane = thread % 32;
  if (lane < blocks) cluster.map_shared_rank(of_warps, lane)[rank * warps + thread / 32] = softmax;
  cluster.sync();  // the label's logit, too, has been read before its gradient is written
  softmax = Softmax::empty();
  for (int i = lane; i < blocks * warps; i += 32) softmax.add(of_warps[i]);
  softmax.reduce();
  if (reports) p.row_loss[r] = logf(softmax.sum) + (softmax.largest - label_logit);
  const float factor = p.scale / softmax.sum;
#pragma unroll kUnroll
  for (int i = thread; i < part.count; i += threads)
    row[i] = softmax_gradient(vectors[i], softmax.largest, factor, label - (part.begin + i) * kVec,
                              p.scale);
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
  return add_loss_sum(p.rows, p.row_loss, p.loss_sum, stream);
}

}  // namespace orrery::kernels
