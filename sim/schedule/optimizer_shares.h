// Which weights a rank's optimizer works on, and the memory that weights, gradients and optimizer
// states take all the time.
#pragma once

#include "sim/schedule/plan_context.h"

namespace orrery {

// Groups the weights of all stages, which their copies allow to know, and adds the collectives on
// them to the stages' graphs. `stages_of_class`: that each rank of a pipeline holds.
void group_weights(const PlanContext& p, const std::vector<std::vector<int>>& stages_of_class,
                   std::vector<StageGraph>& stages);

// Shares in the order of the stages, so that the ranks that share them meet in one order.
OptimizerInput optimizer_input(const PlanContext& p, const RankClass& c);

// Fills the class's shares and static bytes.
void place_optimizer(const PlanContext& p, const OptimizerInput& in, RankClass& c);

}  // namespace orrery
