#include "kernels/base/launch.h"
#include "kernels/moe/dispatch.h"
#include "kernels/moe/expert_count.cuh"
#include "kernels/moe/grouping.cuh"

namespace orrery::kernels {
namespace {

// The ranks that the slots of one token lead to.
struct TokenRanks {
  const int32_t* ids;
  int k, ranks, local_experts;

  // -1 for an id that no rank holds.
  __device__ int of(int slot) const {
    const int32_t id = ids[slot];
    return id >= 0 && id < ranks * local_experts ? id / local_experts : -1;
  }
  // The slot's rank if no earlier slot leads there too, else -1.
  __device__ int first_at(int slot) const {
    const int rank = of(slot);
    for (int earlier = 0; earlier < slot; ++earlier)
      if (of(earlier) == rank) return -1;
    return rank;
  }
};

// Items: (token, slot). Key: the rank, at the first slot of a token that leads there.
struct DestinationRanks {
  const int32_t* routing;
  int k, ranks, local_experts;

  __device__ TokenRanks token(uint32_t item) const {
    const int64_t t = item / static_cast<uint32_t>(k);
    return {routing + t * kRoutingWords * k, k, ranks, local_experts};
  }
  __device__ int slot(uint32_t item) const {
    return static_cast<int>(item % static_cast<uint32_t>(k));
  }
  __device__ int operator()(uint32_t item) const { return token(item).first_at(slot(item)); }
};

struct WriteSentRow {
  DestinationRanks keys;
  DispatchLayout out;

  __device__ void operator()(uint32_t item, int rank, int row) const {
    const TokenRanks token = keys.token(item);
    const int slot = keys.slot(item);
    int destinations = 0, before = 0;  // ranks of the token, and those below this slot's
    for (int s = 0; s < keys.k; ++s) {
      const int other = token.first_at(s);
      destinations += other >= 0;
      before += other >= 0 && other < rank;
    }
    // Each of the token's k entries has one writer: of a row its slot, of a -1 that of its index.
    if (slot >= destinations) out.slot_of[item] = -1;
    if (row < 0) return;
    out.send_token[row] = static_cast<int32_t>(item / static_cast<uint32_t>(keys.k));
    out.slot_of[static_cast<int64_t>(item) - slot + before] = row;
  }
};

Status check_arguments(const DispatchLayoutParams& p) {
  const DispatchLayout& o = p.out;
  Status bad =
      check("dispatch_layout",
            {{p.k >= 1 && p.k <= kMaxTopK, "k is not within 1 to 32"},
             {p.tokens >= 0 && p.tokens <= INT32_MAX / kMaxTopK, "tokens is not within 0 to 2^26"},
             {p.ranks >= 1 && p.local_experts >= 1 && p.ranks <= kMaxExperts &&
                  p.ranks * p.local_experts <= kMaxExperts,
              "ranks · local_experts is not within 1 to 1024"},
             {o.send_rows && o.send_expert_rows, "out.send_rows or send_expert_rows is null"}});
  if (!bad.ok() || p.tokens == 0) return bad;
  return check("dispatch_layout",
               {{p.routing != nullptr, "routing is null"},
                {o.send_token && o.slot_of, "out.send_token or slot_of is null"},
                {p.workspace != nullptr, "workspace is null"},
                {p.workspace_bytes >= dispatch_layout_workspace(p.tokens, p.k, p.ranks),
                 "workspace_bytes is below dispatch_layout_workspace()"}});
}

}  // namespace

int64_t dispatch_layout_workspace(int64_t tokens, int64_t k, int64_t ranks) {
  return ranges_workspace(make_ranges(tokens * k, ranks));
}

Status dispatch_layout(const DispatchLayoutParams& p, cudaStream_t stream) {
  if (Status bad = check_arguments(p); !bad.ok()) return bad;
  const int64_t experts = p.ranks * p.local_experts;
  expert_count_kernel<false><<<expert_count_blocks(experts), kCountThreads, 0, stream>>>(
      static_cast<uint32_t>(p.tokens * p.k), static_cast<uint32_t>(p.k),
      static_cast<int32_t>(experts), p.routing, p.out.send_expert_rows);
  const int64_t capacity = p.tokens * std::min(p.k, p.ranks);
  if (capacity > 0)
    cudaMemsetAsync(p.out.send_token, 0xff, static_cast<std::size_t>(capacity) * 4, stream);
  const Ranges r = make_ranges(p.tokens * p.k, p.ranks);
  const DestinationRanks keys{p.routing, static_cast<int>(p.k), static_cast<int>(p.ranks),
                              static_cast<int>(p.local_experts)};
  int32_t* counts = static_cast<int32_t*>(p.workspace);
  if (r.count > 0)
    group_count_kernel<<<range_blocks(r), kGroupWarps * 32, 0, stream>>>(keys, r, counts);
  group_scan(r, 1, capacity, counts, p.out.send_rows, stream);
  if (r.count > 0)
    group_rows_kernel<<<range_blocks(r), kGroupWarps * 32, 0, stream>>>(
        keys, WriteSentRow{keys, p.out}, r, counts, p.out.send_rows);
  return launched("dispatch_layout");
}

}  // namespace orrery::kernels
