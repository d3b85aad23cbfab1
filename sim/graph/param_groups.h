// Groups of weights and the collectives on them that are part of forward and backward blocks:
// gathers of sharded weights before the units that read them, reductions of gradients after the
// backward of the last unit that adds to them.
#pragma once

#include "sim/graph/stage_builder.h"

namespace orrery {

struct GroupRules {
  int64_t owners = 1;         // ranks that hold the stage's dense weights
  int64_t expert_owners = 1;  // and a shard of its experts
  // The rank holds the embedding in another stage too: it is left out here.
  bool skip_embedding = false;
};

// Over how many of `owners` the states of a group are split.
int64_t shards_of(const PlanSpec& plan, bool expert, int64_t owners);

// DataParallelSpec::one_unit_for_ends, where it applies.
bool ends_together(const PlanSpec& plan);

// Fills g.groups, dense weights before experts. One group per unit (the embedding apart, or with
// the head) with ZeRO stages 2 and 3; with overlapped reductions or gathers, buckets of
// bucket_parameters, last weights first; else one of all dense weights and one of all experts, with
// Muon one of those that AdamW updates and one of the matrices of each size.
void group_params(const PlanSpec& plan, const GroupRules& rules, StageGraph& g);

// Adds the segments kGatherF to kReduceB that the plan asks for.
//
// ZeRO-3: a gather allocates the group's weights (BufferKind::kWeights), ops that read them take
// the tensor as an operand, and the last one frees it; the backward gathers again unless the group
// is kept: with reshard_after_forward false, and with one pipeline stage the last unit's, whose
// backward follows at once. With reduce_every_micro_batch gradients are a tensor of the group from
// the first op that adds to them to the reduction. Other collectives work on the arrays that are
// held all the time and have no operands.
void add_group_collectives(const GraphConfig& config, StageGraph& g);

// How ops use their parameter.
bool writes_gradient(const Op& op);
bool reads_weight(const Op& op);

// The collective's group of ranks for the states of dense or expert weights, and for the copies of
// a shard.
CommKind shard_comm(const PlanSpec& plan, bool expert);
CommKind owner_comm(bool expert);  // all owners of a group
CommKind replica_comm(bool expert);

}  // namespace orrery
