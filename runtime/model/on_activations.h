// Which collectives work on tensors of the passes.
#pragma once

#include "sim/graph/training_graph.h"

namespace orrery {

// Those of tensor, context and expert-tensor parallelism: each member brings whole tensors and gets
// others. What the optimizer has of them works on flat arrays.
inline bool on_activations(const Op& op) {
  const bool group = op.comm == CommKind::kTensor || op.comm == CommKind::kContext ||
                     op.comm == CommKind::kExpertTensor;
  return group && op.phase != Phase::kOptimizer;
}

}  // namespace orrery
