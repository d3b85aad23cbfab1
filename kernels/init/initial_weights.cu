#include "kernels/base/launch.h"
#include "kernels/init/initial_weights.h"
#include "kernels/init/normal.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;

// The element of the whole matrix that element i of the shard is.
__device__ int64_t whole_index(const WeightShard& s, int64_t i) {
  if (s.ways == 1) return i;
  const int64_t at = i % s.width, row = i / s.width * s.width * s.ways;
  if (at < s.first) return row + s.index * s.first + at;
  return row + s.ways * s.first + s.index * (s.width - s.first) + at - s.first;
}

// A row of blocks per matrix.
__global__ void __launch_bounds__(kThreads) initial_weights_kernel(InitialWeightsParams p) {
  const int64_t group = blockIdx.y;
  const uint64_t key = expert_key(p.key, p.first_expert + group);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < p.each;
       i += stride) {
    const auto element = static_cast<uint64_t>(whole_index(p.shard, i));
    const float x = p.random ? round_to_bf16(p.sigma * normal(key, element)) : p.constant;
    const int64_t at = group * p.each + i;
    p.out[at] = __float2bfloat16(x);
    if (at >= p.master_begin && at < p.master_end) p.master[at - p.master_begin] = x;
  }
}

}  // namespace

Status initial_weights(const InitialWeightsParams& p, cudaStream_t stream) {
  const bool empty = p.groups == 0 || p.each == 0;
  const bool no_master = p.master_begin >= p.master_end;
  const Status bad =
      check("initial_weights", {{p.groups >= 0 && p.each >= 0, "groups or each is negative"},
                                {p.groups <= 65535, "groups is above 65535"},
                                {p.shard.ways == 1 || p.shard.width > 0, "width is not positive"},
                                {empty || p.out != nullptr, "out is null"},
                                {empty || no_master || p.master != nullptr, "master is null"}});
  if (!bad.ok() || empty) return bad;
  int sms = 0;
  if (Status s = multiprocessors("initial_weights", 0, &sms); !s.ok()) return s;
  const int64_t blocks = std::min<int64_t>(ceil_div(p.each, kThreads), int64_t{sms} * 8);
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(p.groups));
  initial_weights_kernel<<<grid, kThreads, 0, stream>>>(p);
  return launched("initial_weights");
}

}  // namespace orrery::kernels
