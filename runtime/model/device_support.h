// What the backends have no kernels for.
#pragma once

#include <string>
#include <vector>

#include "sim/graph/exec_plan.h"
#include "sim/spec/model.h"

namespace orrery {

// What the plan's ops ask of the CUDA backend that it does not have, each thing once and in the
// order of the ops; empty: it can run the plan. O(ops).
std::vector<std::string> missing_on_cuda(const ExecPlan& plan, const ModelSpec& model);

// Throws an Error (kUnavailable) that lists what is missing on CUDA, or on the CPU, which can do
// all but drop tokens beyond an expert's capacity.
void require_kernels(bool cuda, const ExecPlan& plan, const ModelSpec& model);

}  // namespace orrery
