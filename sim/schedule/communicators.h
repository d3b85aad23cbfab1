// Which communicator each collective and transfer of a rank class uses.
#pragma once

#include "sim/schedule/plan_context.h"

namespace orrery {

// Communicators are found by what they connect; every class that lists the same key takes part.
// Binds the ops of class `c`, the last of the plan, which are `ops` from `first_op` on.
void bind_communicators(const PlanContext& p, RankClass& c, std::vector<PlanOp>& ops,
                        std::size_t first_op);

}  // namespace orrery
