// The FP8 GEMM kernel of one kind of scales and one tiling; instantiated in fp8_*.cu.
//
// Two warps copy, two or three warpgroups multiply. A persistent block computes tile after tile; in
// a pair of blocks each loads half of their common rows of A for both.
#pragma once

#include <algorithm>

#include "kernels/base/launch.h"
#include "kernels/gemm/fp8_consumer.cuh"
#include "kernels/gemm/fp8_gemm.h"
#include "kernels/gemm/fp8_producer.cuh"

namespace orrery::kernels::fp8_kernel {

template <class T>
__global__ __launch_bounds__(T::kThreads,
                             1) void fp8_gemm_kernel(const __grid_constant__ Params p) {
  extern __shared__ unsigned char raw[];
  const uint32_t address = shared_address(raw);
  const Shared<T> shared{(address + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes};
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&p.a);
    prefetch_tensor_map(&p.b);
    for (int s = 0; s < T::kStages; ++s) {
      barrier_init(shared.full(s), kProducerWarps);
      barrier_init(shared.empty(s), T::kBlocks * T::kConsumers * 4);
    }
    fence_barrier_init();
  }
  if constexpr (T::kBlocks > 1)
    cluster_sync();
  else
    __syncthreads();
  if (threadIdx.x < kProducerThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(T::kProducerRegisters));
    if (threadIdx.x < kProducerWarps * 32) Producer<T>(p, shared).run();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(T::kConsumerRegisters));
    Consumer<T>(p, shared).run();
  }
  // The other block may still write here or arrive at barriers here.
  if constexpr (T::kBlocks > 1) {
    __syncwarp();
    cluster_sync();
  }
}

template <class T>
Status launch(const char* name, const Params& p, int sms, cudaStream_t stream) {
  cudaError_t e = cudaFuncSetAttribute(
      fp8_gemm_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, T::kSharedBytes);
  if (e != cudaSuccess) return failed(std::string(name).append(": ").append(cudaGetErrorString(e)));
  const TileGemmParams& g = p.gemm;
  // Each group may end within a tile, or has tiles of its own.
  const bool by_rows = g.grouping == TileGrouping::kRows;
  const int64_t units = (ceil_div(g.m, T::kRows) + (by_rows ? g.groups : 0)) *
                        ceil_div(g.n, T::kCols * T::kBlocks) *
                        (g.grouping == TileGrouping::kDepth ? g.groups : 1);
  const int64_t at_once = std::max(1, sms / T::kBlocks);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(std::min(units, at_once) * T::kBlocks));
  config.blockDim = dim3(T::kThreads);
  config.dynamicSmemBytes = T::kSharedBytes;
  config.stream = stream;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {T::kBlocks, 1, 1};
  config.attrs = &cluster, config.numAttrs = 1;
  e = cudaLaunchKernelEx(&config, fp8_gemm_kernel<T>, p);
  if (e != cudaSuccess) return failed(std::string(name).append(": ").append(cudaGetErrorString(e)));
  return launched(name);
}

}  // namespace orrery::kernels::fp8_kernel
