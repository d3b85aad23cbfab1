// From a model, plan and stack to the ExecPlan: stage graphs, one rank class per pipeline rank, its
// schedule lowered to calls of blocks.
#pragma once

#include "sim/graph/exec_plan.h"
#include "sim/graph/stage_builder.h"

namespace orrery {

// Every pipeline rank is a class; its data-parallel replicas do the same work. O(ops of all
// blocks).
ExecPlan compile_plan(const GraphConfig& config);

// The pair of a forward and a backward of the given stages as one block on a rank of its own, as a
// profiler sees it: no pipeline transfers, no optimizer.
// `calls` such pairs follow each other; the class's replicas are one expert-parallel group
// (with tensor or context parallelism whole groups of those too).
ExecPlan compile_pair(const GraphConfig& config, int forward_stage, int backward_stage,
                      int calls = 1);

}  // namespace orrery
