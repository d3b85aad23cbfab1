#include "kernels/base/launch.h"
#include "kernels/gemm/empty_groups.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;

// All blocks share the empty groups; usually there are none.
__global__ void __launch_bounds__(kThreads) zero_kernel(ZeroEmptyGroupsParams p) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t g = 0; g < p.groups; ++g) {
    if (p.offsets[p.group + g] < p.offsets[p.group + g + 1]) continue;
    auto* c = reinterpret_cast<float4*>(p.c + g * p.elements);
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < p.elements / 4;
         i += stride)
      c[i] = float4{};
  }
}

}  // namespace

Status zero_empty_groups(const ZeroEmptyGroupsParams& p, cudaStream_t stream) {
  const Status bad =
      check("zero_empty_groups", {{p.elements % 4 == 0, "elements is not a multiple of 4"},
                                  {aligned(p.c), "c is not 16-byte aligned"}});
  if (!bad.ok() || p.groups == 0 || p.elements == 0) return bad;
  int sms = 0;
  if (Status s = multiprocessors("zero_empty_groups", 0, &sms); !s.ok()) return s;
  zero_kernel<<<static_cast<unsigned>(sms), kThreads, 0, stream>>>(p);
  return launched("zero_empty_groups");
}

}  // namespace orrery::kernels
