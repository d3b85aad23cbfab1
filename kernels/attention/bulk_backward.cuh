// The kernels of bulk_backward.h: a block owns 128 keys of a head, and sums their gradients over
// the queries, or 128 queries, and sums theirs over the keys. One warp copies, two warpgroups own
// 64 rows each; the tensor cores work for one while the other computes exponentials. Scores and
// their gradients stay in registers, as the products with what is walked over want them.
#pragma once

#include <string>

#include "kernels/attention/bulk_backward_consumer.cuh"
#include "kernels/base/launch.h"

namespace orrery::kernels::attention::bulk_back {

template <int kQk, Owner kOwner>
__global__ __launch_bounds__(kThreads,
                             1) void bulk_backward_kernel(const __grid_constant__ Params params) {
  extern __shared__ unsigned char raw[];
  const uint32_t address = shared_address(raw);
  const uint32_t base = (address + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes;
  const Shared<kQk> shared{base, raw + (base - address)};
  if (threadIdx.x == 0) {
    barrier_init(shared.owned_full(), 1);
    for (int s = 0; s < kStages; ++s) {
      barrier_init(shared.full(s), 1);
      barrier_init(shared.empty(s), 8);  // warps that multiply
    }
    fence_barrier_init();
  }
  __syncthreads();
  const Task t = task<kOwner>(params);
  if (threadIdx.x < kProducerThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProducerRegisters));
    if (threadIdx.x == 0) copy<kQk, kOwner>(params, t, shared);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    Consumer<kQk, kOwner>(params, t, shared).run();
  }
}

template <int kQk, Owner kOwner>
Status launch(const Params& params, cudaStream_t stream) {
  const auto kernel = bulk_backward_kernel<kQk, kOwner>;
  const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             Shared<kQk>::kBytes);
  if (e != cudaSuccess)
    return failed(std::string("attention_backward: ").append(cudaGetErrorString(e)));
  const AttentionShape& s = params.p.shape;
  const int64_t heads = kOwner == Owner::kKeys ? s.kv_heads : s.heads;
  const int64_t blocks = ceil_div(s.seq, kOwned) * heads * s.batch;
  kernel<<<static_cast<unsigned>(blocks), kThreads, Shared<kQk>::kBytes, stream>>>(params);
  return launched("attention_backward");
}

}  // namespace orrery::kernels::attention::bulk_back
