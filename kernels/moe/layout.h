// Rows of the local experts, from what arrived (layout_view.h says what the outputs hold).
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/moe/layout_view.h"

namespace orrery::kernels {

struct ExpertLayoutParams {
  int64_t arrived = 0;  // rows of routing, or more: see arrived_rows
  // On the device: the rows that did arrive, those after them being ignored; nullptr: all.
  const int32_t* arrived_rows = nullptr;
  int64_t k = 0;              // at most kMaxTopK
  int64_t local_experts = 0;  // at most kMaxExperts
  int64_t align = 1;          // of the groups, in rows
  // Rows of `out`. expert_layout_capacity() always suffices; a capacity that the routing exceeds
  // ends in a CUDA error rather than in rows that are missing.
  int64_t capacity = 0;
  const int32_t* routing = nullptr;  // ids, then weights; [arrived, ld_routing]
  int64_t ld_routing = 0;            // 2k for arrived routing, 3k for a rank's own
  int64_t first_expert = 0;
  ExpertLayout out = {};  // written whole
  void* workspace = nullptr;
  int64_t workspace_bytes = 0;
};
int64_t expert_layout_workspace(int64_t arrived, int64_t k, int64_t local_experts);  // bytes
Status expert_layout(const ExpertLayoutParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
