// Expert parallelism over `ranks` ranks: which rows go where, packing what is sent and summing what
// comes back. A token goes once to every rank that holds one of its experts; expert e is on rank
// e / local_experts. Layouts and routing: layout_view.h. Pointers to rows are 16-byte aligned, cols
// a multiple of 8 (FP8: 16).
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/moe/layout_view.h"

namespace orrery::kernels {

struct DispatchLayoutParams {
  int64_t tokens = 0, k = 0;
  int64_t ranks = 0, local_experts = 0;  // together at most kMaxExperts experts
  const int32_t* routing = nullptr;      // [tokens, 3k]
  DispatchLayout out = {};               // written whole
  void* workspace = nullptr;
  int64_t workspace_bytes = 0;
};
int64_t dispatch_layout_workspace(int64_t tokens, int64_t k, int64_t ranks);  // bytes
Status dispatch_layout(const DispatchLayoutParams& p, cudaStream_t stream);

// out[i] = x[send_token[i]] for the rows that are sent; later rows are not written. Either x and
// out, or x8 and out8; a contiguous send buffer has out8.row_stride = tiles(cols), tile_stride = 1.
struct PackRowsParams {
  int64_t capacity = 0, cols = 0;
  const int32_t* rows = nullptr;        // on the device: DispatchLayout::send_rows + ranks
  const int32_t* send_token = nullptr;  // [capacity]
  const bf16* x = nullptr;              // [tokens, cols]
  bf16* out = nullptr;                  // [capacity, cols]
  Fp8View x8 = {}, out8 = {};
};
Status pack_rows(const PackRowsParams& p, cudaStream_t stream);

// The routing of the rows that are sent as their destinations read it: ids local to the
// destination; -1 and a weight of 0 for experts elsewhere. Later rows are not written.
struct PackRoutingParams {
  int64_t capacity = 0, k = 0;
  int64_t ranks = 0, local_experts = 0;
  const int32_t* routing = nullptr;     // [tokens, 3k]
  const int32_t* send_rows = nullptr;   // [ranks + 1]
  const int32_t* send_token = nullptr;  // [capacity]
  int32_t* out = nullptr;               // [capacity, 2k]
};
Status pack_routing(const PackRoutingParams& p, cudaStream_t stream);

// out[t] = sum in the order of ranks of what came back for token t, + addend[t], in FP32.
struct CombineRowsParams {
  int64_t tokens = 0, cols = 0, k = 0;
  const int32_t* slot_of = nullptr;  // [tokens, k]
  const bf16* received = nullptr;    // [sent rows, cols], in the order in which they were sent
  const bf16* addend = nullptr;      // [tokens, cols]; may be nullptr
  bf16* out = nullptr;               // [tokens, cols]; may be addend
};
Status combine_rows(const CombineRowsParams& p, cudaStream_t stream);

// Gradients of the routing weights: out[t, slot] = received[row, slot] with the row that went to
// the rank of the slot's expert.
struct CombineWeightsParams {
  int64_t tokens = 0, k = 0;
  int64_t ranks = 0, local_experts = 0;
  const int32_t* routing = nullptr;    // [tokens, 3k]
  const int32_t* send_rows = nullptr;  // [ranks + 1]
  const int32_t* slot_of = nullptr;    // [tokens, k]
  const float* received = nullptr;     // [sent rows, k]
  float* out = nullptr;                // [tokens, k]
};
Status combine_weights(const CombineWeightsParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
