#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/moe/dispatch.h"
#include "kernels/moe/rows.h"

namespace orrery::kernels {
namespace {

// Rank to which row `row` goes: the last one whose first row is not after it.
__device__ int destination(const int32_t* send_rows, int ranks, int32_t row) {
  int low = 0, high = ranks - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (send_rows[middle] <= row)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// A thread per (row, slot).
__global__ void __launch_bounds__(kItemThreads) pack_routing_kernel(PackRoutingParams p) {
  const uint32_t k = static_cast<uint32_t>(p.k);
  const uint32_t row = item_index() / k, slot = item_index() % k;
  const int ranks = static_cast<int>(p.ranks);
  if (row >= p.capacity || row >= p.send_rows[ranks]) return;
  const int rank = destination(p.send_rows, ranks, static_cast<int32_t>(row));
  const int32_t* token = p.routing + p.send_token[row] * kRoutingWords * p.k;
  const int32_t local_experts = static_cast<int32_t>(p.local_experts);
  const int32_t id = token[slot] - rank * local_experts;
  const bool there = id >= 0 && id < local_experts;
  int32_t* out = p.out + row * kArrivedRoutingWords * p.k;
  out[slot] = there ? id : -1;
  out[k + slot] = there ? token[k + slot] : 0;
}

// A thread per (token, slot).
__global__ void __launch_bounds__(kItemThreads) combine_weights_kernel(CombineWeightsParams p) {
  const uint32_t item = item_index();
  if (item >= p.tokens * p.k) return;
  const uint32_t k = static_cast<uint32_t>(p.k);
  const int64_t token = item / k, slot = item % k;
  const int32_t id = p.routing[token * kRoutingWords * k + slot];
  const int32_t rank = id / static_cast<int32_t>(p.local_experts);
  const int32_t begin = p.send_rows[rank], end = p.send_rows[rank + 1];
  for (uint32_t j = 0; j < k; ++j) {
    const int32_t row = p.slot_of[token * k + j];
    // The token has one row on that rank.
    if (row >= begin && row < end) p.out[item] = p.received[row * p.k + slot];
  }
}

template <class Params>
Status check_ranks(const char* kernel, const Params& p) {
  return check(kernel, {{p.k >= 1 && p.k <= kMaxTopK, "k is not within 1 to 32"},
                        {p.ranks >= 1 && p.local_experts >= 1 && p.ranks <= kMaxExperts &&
                             p.ranks * p.local_experts <= kMaxExperts,
                         "ranks · local_experts is not within 1 to 1024"}});
}

}  // namespace

Status pack_rows(const PackRowsParams& p, cudaStream_t stream) {
  if (p.rows == nullptr) return failed("pack_rows: rows is null");
  return gather_rows("pack_rows",
                     {.capacity = p.capacity,
                      .cols = p.cols,
                      .rows = p.rows,
                      .index = p.send_token,
                      .divisor = 1,
                      .x = p.x,
                      .out = p.out,
                      .x8 = p.x8,
                      .out8 = p.out8},
                     stream);
}

Status pack_routing(const PackRoutingParams& p, cudaStream_t stream) {
  if (Status bad = check_ranks("pack_routing", p); !bad.ok()) return bad;
  Status bad = check(
      "pack_routing",
      {{p.capacity >= 0 && p.capacity <= kMaxItems / kMaxTopK, "capacity is not within 0 to 2^26"},
       {p.capacity == 0 || (p.routing && p.send_rows), "routing or send_rows is null"},
       {p.capacity == 0 || (p.send_token && p.out), "send_token or out is null"}});
  if (!bad.ok() || p.capacity == 0) return bad;
  pack_routing_kernel<<<item_blocks(p.capacity * p.k), kItemThreads, 0, stream>>>(p);
  return launched("pack_routing");
}

Status combine_rows(const CombineRowsParams& p, cudaStream_t stream) {
  return sum_rows("combine_rows",
                  {.rows = p.tokens,
                   .cols = p.cols,
                   .k = p.k,
                   .index = p.slot_of,
                   .weights = nullptr,
                   .x = p.received,
                   .addend = p.addend,
                   .out = p.out},
                  stream);
}

Status combine_weights(const CombineWeightsParams& p, cudaStream_t stream) {
  if (Status bad = check_ranks("combine_weights", p); !bad.ok()) return bad;
  Status bad =
      check("combine_weights",
            {{p.tokens >= 0 && p.tokens <= kMaxItems / kMaxTopK, "tokens is not within 0 to 2^26"},
             {p.tokens == 0 || (p.routing && p.send_rows && p.slot_of),
              "routing, send_rows or slot_of is null"},
             {p.tokens == 0 || (p.received && p.out), "received or out is null"}});
  if (!bad.ok() || p.tokens == 0) return bad;
  combine_weights_kernel<<<item_blocks(p.tokens * p.k), kItemThreads, 0, stream>>>(p);
  return launched("combine_weights");
}

}  // namespace orrery::kernels
