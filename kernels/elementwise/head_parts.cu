#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"
#include "kernels/elementwise/head_parts.h"

namespace orrery::kernels {
namespace {

// An item is one vector, in the order of the split tensor.
template <bool kSplit>
__global__ void __launch_bounds__(kItemThreads)
    head_parts_kernel(HeadPartsParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const auto length = static_cast<uint32_t>(p.length), parts = static_cast<uint32_t>(p.parts);
  const auto wide = static_cast<uint32_t>(p.width / kVec);
  const auto first = static_cast<uint32_t>(p.first / kVec);
  const uint32_t narrow = wide / parts, of_first = first / parts;
  const uint32_t row = item / narrow, column = item % narrow;
  const uint32_t part = row / length % parts;
  const uint32_t whole_row = row / length / parts * length + row % length;
  const uint32_t whole_column = column < of_first
                                    ? part * of_first + column
                                    : first + part * (narrow - of_first) + column - of_first;
  const int64_t whole = static_cast<int64_t>(whole_row) * wide + whole_column;
  const auto* x = reinterpret_cast<const uint4*>(p.x);
  auto* out = reinterpret_cast<uint4*>(p.out);
  if (kSplit)
    out[item] = x[whole];
  else
    out[whole] = x[item];
}

template <bool kSplit>
Status launch(const char* name, const HeadPartsParams& p, cudaStream_t stream) {
  const bool empty = p.sequences == 0 || p.length == 0 || p.width == 0;
  Status bad = check(
      name, {{p.sequences >= 0 && p.length >= 0, "sequences or length is negative"},
             {p.parts >= 1, "parts is not positive"},
             {p.first >= 0 && p.first <= p.width, "first is not within the width"},
             {p.parts < 1 || (p.first % (p.parts * kVec) == 0 && p.width % (p.parts * kVec) == 0),
              "a piece of a row is not a multiple of 8"},
             {empty || (p.sequences <= kMaxItems && p.length <= kMaxItems / p.sequences &&
                        p.width / kVec <= kMaxItems / (p.sequences * p.length)),
              "sequences · length · width is above 2^34"},
             {empty || (p.x && p.out), "x or out is null"},
             {aligned(p.x) && aligned(p.out), "x or out is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  const int64_t items = p.sequences * p.length * (p.width / kVec);
  head_parts_kernel<kSplit>
      <<<item_blocks(items), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(items));
  return launched(name);
}

}  // namespace

Status split_heads(const HeadPartsParams& p, cudaStream_t stream) {
  return launch<true>("split_heads", p, stream);
}

Status join_heads(const HeadPartsParams& p, cudaStream_t stream) {
  return launch<false>("join_heads", p, stream);
}

}  // namespace orrery::kernels
