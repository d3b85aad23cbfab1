// softmax(q·kᵀ)·v of one rank's heads, within its sequences or across the ranks that share them
// (ContextParallelKind).
#pragma once

#include <vector>

#include "sim/graph/stage_builder.h"

namespace orrery {

struct CoreShape {
  int64_t heads, kv_heads;  // of this rank
  int64_t d_qk, d_v;
  int64_t window = 0;  // OpShape::window
  ParamId sinks = {};  // of this rank's heads; invalid: none
  // An unfused core leaves its probabilities for the backward.
  bool unfused = false;
};

// What the core reads: queries, and keys and values as one tensor (all keys, then all values) or as
// two.
struct CoreOperands {
  TensorId q;
  std::vector<TensorId> kv;
};

struct CoreTape {
  CoreOperands operands;  // as the core read them
  TensorId out, lse;      // of the core; `out` only where it is not what core_forward returned
  TensorId probabilities, dropped, mask;  // of an unfused core; the latter with dropout
};

// Output [tokens, heads · d_v].
//   ring: while the core works on one block of keys and values, the next comes from the rank
//   before; after the own, causal block each step is half of a full one on every rank, its work
//   that of the causal one. The partial outputs are merged by their log-sum-exps. all-to-all: q, k
//   and v go to the ranks of their heads, the output comes back.
TensorId core_forward(StageBuilder& b, const CoreShape& s, const CoreOperands& in, CoreTape& t);

// The core again in the backward, where the plan asks for that: its output, as core_forward.
TensorId core_again(StageBuilder& b, const CoreShape& s, const CoreOperands& in, CoreTape& t);

// The operands of the backward when q, k and v were computed again.
void core_operands_again(StageBuilder& b, const CoreShape& s, const CoreOperands& in, CoreTape& t);

// Gradients of q, k and v in the shape of CoreOperands, from the output and its gradient. In a ring
// the gradients of keys and values travel with their blocks and get home after as many steps as
// there are ranks.
CoreOperands core_backward(StageBuilder& b, const CoreShape& s, TensorId out, TensorId dout,
                           CoreTape& t);

}  // namespace orrery
