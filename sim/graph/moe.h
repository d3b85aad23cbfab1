// The routed experts of a MoE layer, on the rows that arrived at this rank.
#pragma once

#include <algorithm>

#include "sim/graph/ffn.h"

namespace orrery {

// 32-bit words per chosen expert: id, weight and score; for arrived rows id and weight.
constexpr int64_t kRoutingWords = 3;
constexpr int64_t kArrivedRoutingWords = 2;

// Of the packed indices that the dispatch reads (kernels/moe/layout_view.h).
int64_t dispatch_layout_words(int64_t tokens, const ModelSpec& m, int64_t ranks);

// Columns of an expert on this rank.
inline int64_t expert_width(const StageBuilder& b) {
  return b.model().expert_ffn / b.config().plan.expert_tensor_parallel;
}

// Rows of FfnTape::arrived through the local experts and back to one row per arrived token.
TensorId experts_forward(StageBuilder& b, FfnTape& t);
// What stays of the gate_up product for the backward.
void experts_keep(StageBuilder& b, FfnTape& t);
// Gradient of the arrived rows, and in `dweights` that of their routing weights. Leaves the
// operands of the weight gradients.
TensorId experts_backward(StageBuilder& b, TensorId dy_arrived, FfnTape& t, TensorId& dweights);

}  // namespace orrery
