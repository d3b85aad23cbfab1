// Reductions over a warp and a block, in an order that does not depend on timing. Every thread gets
// the result.
#pragma once

#include <cmath>

namespace orrery::kernels {

struct Sum {
  static constexpr float kIdentity = 0;
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  static constexpr float kIdentity = -INFINITY;
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// T: float or double.
template <class T, class Op>
__device__ inline T warp_reduce(T x, Op op) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x = op(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

// Called by all threads of a one-dimensional block: whole warps, at most kThreads threads.
template <int kThreads, class T, class Op>
__device__ inline T block_reduce(T x, Op op) {
  constexpr int kWarps = kThreads / 32;
  static_assert(kThreads % 32 == 0 && kWarps <= 32);
  __shared__ T of_warp[kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  x = warp_reduce(x, op);
  __syncthreads();  // of_warp may still be read by a previous call
  if (lane == 0) of_warp[warp] = x;
  __syncthreads();
  return warp_reduce(lane < static_cast<int>(blockDim.x / 32) ? of_warp[lane] : T(Op::kIdentity),
                     op);
}

template <int kThreads, class T>
__device__ inline T block_sum(T x) {
  return block_reduce<kThreads>(x, Sum{});
}
template <int kThreads>
__device__ inline float block_max(float x) {
  return block_reduce<kThreads>(x, Max{});
}

}  // namespace orrery::kernels
