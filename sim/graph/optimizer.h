// The optimizer step of a rank: gradient reduction over the replicas of each weight, clipping by
// the global norm, AdamW on the owned shard (ZeRO-1), gathering of the new weights.
#pragma once

#include <vector>

#include "sim/graph/stage_builder.h"

namespace orrery {

// Weights with the same replicas: the dense or the expert part of one model chunk.
struct OptimizerShare {
  int chunk = 0;
  CommKind comm = CommKind::kData;
  int64_t params = 0;  // on this rank
  int64_t shards = 1;  // over which the optimizer states are split; 1: not sharded
};

// `params` of the rank in all. Gradients are FP32, master weights FP32, moments BF16; new weights
// are gathered in BF16 and cast to FP8.
StageGraph build_optimizer(const GraphConfig& config, const std::vector<OptimizerShare>& shares,
                           int64_t params);

}  // namespace orrery
