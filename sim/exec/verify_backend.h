// Runs an ExecPlan without time and reports what would go wrong on a real machine: deadlocks,
// collectives and transfers that do not match, tensors used before they are written or after they
// are freed, and leaks. Every finding names ops.
#pragma once

#include <string>
#include <vector>

#include "sim/graph/exec_plan.h"

namespace orrery {

// At most 20 findings; empty when the plan is sound. O(instructions of all calls).
std::vector<std::string> verify(const ExecPlan& plan);

// Throws Infeasible with the findings.
void verify_or_throw(const ExecPlan& plan);

}  // namespace orrery
