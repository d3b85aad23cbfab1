#include "kernels/base/launch.h"
#include "kernels/moe/grouping.cuh"
#include "kernels/moe/layout.h"

namespace orrery::kernels {
namespace {

// Items: (arrived row, slot). Key: the local expert.
struct LocalExperts {
  const int32_t* routing;
  int64_t ld;
  uint32_t k;
  int32_t first_expert, local_experts;
  const int32_t* arrived_rows;

  __device__ int operator()(uint32_t item) const {
    const uint32_t row = item / k, slot = item % k;
    if (arrived_rows != nullptr && static_cast<int64_t>(row) >= *arrived_rows) return -1;
    const int32_t id = routing[row * ld + slot] - first_expert;
    return id >= 0 && id < local_experts ? id : -1;
  }
};

struct WriteExpertRow {
  const int32_t* routing;
  int64_t ld;
  uint32_t k;
  ExpertLayout out;

  __device__ void operator()(uint32_t item, int, int row) const {
    out.slot_row[item] = row;
    if (row < 0) return;
    out.row_slot[row] = static_cast<int32_t>(item);
    out.row_weight[row] = __int_as_float(routing[item / k * ld + k + item % k]);
  }
};

Status check_arguments(const ExpertLayoutParams& p) {
  const ExpertLayout& o = p.out;
  Status bad = check(
      "expert_layout",
      {{p.k >= 1 && p.k <= kMaxTopK, "k is not within 1 to 32"},
       {p.arrived >= 0 && p.arrived <= INT32_MAX / kMaxTopK, "arrived is not within 0 to 2^26"},
       {p.local_experts >= 1 && p.local_experts <= kMaxExperts,
        "local_experts is not within 1 to 1024"},
       {p.align >= 1 && p.align <= 65536, "align is not within 1 to 65536"},
       {p.capacity >= 0 && p.capacity <= INT32_MAX, "capacity is not within 0 to 2^31 - 1"},
       {p.first_expert >= 0 && p.first_expert <= INT32_MAX, "first_expert is negative"},
       {p.ld_routing >= kArrivedRoutingWords * p.k, "ld_routing is below 2k"},
       {p.arrived * p.k <= INT32_MAX - p.local_experts * p.align, "arrived · k is above 2^31"}});
  if (!bad.ok()) return bad;
  return check(
      "expert_layout",
      {{o.offsets != nullptr, "out.offsets is null"},
       {p.capacity == 0 || (o.row_slot && o.row_weight), "out.row_slot or row_weight is null"},
       {p.arrived == 0 || (p.routing && o.slot_row), "routing or out.slot_row is null"},
       {p.arrived == 0 || p.workspace, "workspace is null"},
       {p.workspace_bytes >= expert_layout_workspace(p.arrived, p.k, p.local_experts),
        "workspace_bytes is below expert_layout_workspace()"}});
}

}  // namespace

int64_t expert_layout_workspace(int64_t arrived, int64_t k, int64_t local_experts) {
  return ranges_workspace(make_ranges(arrived * k, local_experts));
}

Status expert_layout(const ExpertLayoutParams& p, cudaStream_t stream) {
  if (Status bad = check_arguments(p); !bad.ok()) return bad;
  const std::size_t row_bytes = static_cast<std::size_t>(p.capacity) * 4;
  if (p.capacity > 0) {
    cudaMemsetAsync(p.out.row_slot, 0xff, row_bytes, stream);
    cudaMemsetAsync(p.out.row_weight, 0, row_bytes, stream);
  }
  const Ranges r = make_ranges(p.arrived * p.k, p.local_experts);
  const uint32_t k = static_cast<uint32_t>(p.k);
  const LocalExperts keys{p.routing,
                          p.ld_routing,
                          k,
                          static_cast<int32_t>(p.first_expert),
                          static_cast<int32_t>(p.local_experts),
                          p.arrived_rows};
  int32_t* counts = static_cast<int32_t*>(p.workspace);
  if (r.count > 0)
    group_count_kernel<<<range_blocks(r), kGroupWarps * 32, 0, stream>>>(keys, r, counts);
  group_scan(r, static_cast<int>(p.align), p.capacity, counts, p.out.offsets, stream);
  if (r.count > 0) {
    const WriteExpertRow emit{p.routing, p.ld_routing, k, p.out};
    group_rows_kernel<<<range_blocks(r), kGroupWarps * 32, 0, stream>>>(keys, emit, r, counts,
                                                                        p.out.offsets);
  }
  return launched("expert_layout");
}

}  // namespace orrery::kernels
