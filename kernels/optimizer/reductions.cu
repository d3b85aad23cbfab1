// Sum of squares, and the router's balancing bias, which needs the mean load.
#include <algorithm>

#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/optimizer/adamw.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectorsPerThread = 8;  // at least, before more blocks are added

__global__ void __launch_bounds__(kThreads) partial_squares_kernel(SumSquaresParams p) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < p.n / 4;
       i += stride) {
    const float4 x = reinterpret_cast<const float4*>(p.x)[i];
    sum += static_cast<double>(x.x * x.x + x.y * x.y + (x.z * x.z + x.w * x.w));
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) p.workspace[blockIdx.x] = static_cast<float>(sum);
}

__global__ void __launch_bounds__(kThreads) total_squares_kernel(SumSquaresParams p, int partials) {
  double sum = 0;
  for (int i = threadIdx.x; i < partials; i += kThreads) sum += p.workspace[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *p.out += static_cast<float>(p.scale * sum);
}

// Sums of integer loads are exact in double, so that a load at the mean compares equal.
__global__ void __launch_bounds__(kThreads) router_bias_kernel(RouterBiasUpdateParams p) {
  double sum = 0;
  for (int64_t e = threadIdx.x; e < p.experts; e += kThreads) sum += p.load[e];
  sum = block_sum<kThreads>(sum);
  for (int64_t e = threadIdx.x; e < p.experts; e += kThreads) {
    const double mine = static_cast<double>(p.load[e]) * static_cast<double>(p.experts);
    if (mine < sum) p.bias[e] += p.rate;
    if (mine > sum) p.bias[e] -= p.rate;
  }
}

}  // namespace

Status sum_squares(const SumSquaresParams& p, cudaStream_t stream) {
  Status bad = check("sum_squares",
                     {{p.n >= 0 && p.n % 4 == 0, "n is not a multiple of 4"},
                      {p.n == 0 || (p.x && p.workspace && p.out), "x, workspace or out is null"},
                      {aligned(p.x), "x is not 16-byte aligned"}});
  if (!bad.ok() || p.n == 0) return bad;
  // A function of n alone: the result must not depend on the GPU.
  const int partials = static_cast<int>(
      std::min(kSumSquaresWorkspace, ceil_div(p.n / 4, kThreads * kVectorsPerThread)));
  partial_squares_kernel<<<static_cast<unsigned>(partials), kThreads, 0, stream>>>(p);
  if (Status s = launched("sum_squares"); !s.ok()) return s;
  total_squares_kernel<<<1, kThreads, 0, stream>>>(p, partials);
  return launched("sum_squares");
}

Status router_bias_update(const RouterBiasUpdateParams& p, cudaStream_t stream) {
  Status bad =
      check("router_bias_update", {{p.experts >= 0, "experts is negative"},
                                   {p.experts == 0 || (p.load && p.bias), "load or bias is null"}});
  if (!bad.ok() || p.experts == 0) return bad;
  router_bias_kernel<<<1, kThreads, 0, stream>>>(p);
  return launched("router_bias_update");
}

}  // namespace orrery::kernels
