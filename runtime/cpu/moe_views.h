// Packed index tensors of a MoE layer as the CPU backend holds them: rows = arrived rows, cols =
// capacity in expanded rows, values = the routing weight of each expanded row.
#pragma once

#include "kernels/moe/layout_view.h"
#include "kernels/moe/permute_reference.h"
#include "runtime/cpu/op_call.h"

namespace orrery {

template <class T>
kernels::ExpertLayout expert_layout(const OpCall<T>& c, const HostTensor<T>& layout) {
  // The views of kernels are for writing too.
  auto* base = const_cast<int32_t*>(layout.ints.data());
  return kernels::expert_layout_view(base, layout.rows, c.config.model.experts_per_token,
                                     c.local_experts, layout.cols);
}

template <class T>
const int32_t* expert_offsets(const OpCall<T>& c, const HostTensor<T>& layout) {
  return expert_layout(c, layout).offsets;
}

template <class T>
kernels::DispatchLayout dispatch_layout(const OpCall<T>& c, const HostTensor<T>& layout) {
  auto* base = const_cast<int32_t*>(layout.ints.data());
  return kernels::dispatch_layout_view(base, c.tokens(), c.config.model.experts_per_token, c.ranks,
                                       c.local_experts);
}

// One row per (token, local expert) of the arrived rows `x`.
template <class T>
void permute_rows(const OpCall<T>& c, const HostTensor<T>& x, const HostTensor<T>& layout,
                  HostTensor<T>& out) {
  const int64_t k = c.config.model.experts_per_token;
  kernels::permute_reference<T>(layout.cols, x.cols, k, expert_layout(c, layout).row_slot,
                                x.values.data(), out.resize(layout.cols, x.cols));
}

}  // namespace orrery
