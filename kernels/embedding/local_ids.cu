#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/embedding/local_ids.h"

namespace orrery::kernels {
namespace {

// An item is one token.
__global__ void __launch_bounds__(kItemThreads) local_ids_kernel(LocalIdsParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t length = static_cast<uint32_t>(p.length);
  const int64_t sequence = item / length, i = item % length;
  const int64_t id = p.ids[sequence * p.stride + i] - p.first;
  p.out[sequence * p.out_stride + i] = id >= 0 && id < p.vocab ? static_cast<int32_t>(id) : -1;
}

}  // namespace

Status local_ids(const LocalIdsParams& p, cudaStream_t stream) {
  const bool empty = p.sequences == 0 || p.length == 0;
  Status bad =
      check("local_ids",
            {{p.sequences >= 0 && p.length >= 0, "sequences or length is negative"},
             {empty || p.length <= kMaxItems / p.sequences, "sequences · length is above 2^31 - 1"},
             {p.first >= 0 && p.vocab > 0, "first is negative or vocab is not positive"},
             {p.out_stride >= p.length, "out_stride is below length"},
             {empty || (p.ids && p.out), "ids or out is null"}});
  if (!bad.ok() || empty) return bad;
  const int64_t items = p.sequences * p.length;
  local_ids_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p,
                                                                    static_cast<uint32_t>(items));
  return launched("local_ids");
}

}  // namespace orrery::kernels
