// The communicators of a rank's class, one per group of the plan, connected.
#pragma once

#include "runtime/cuda/collectives.h"
#include "runtime/launch/bootstrap.h"

namespace orrery {

// Collective: all ranks make all groups in one order. Throws kUnavailable without a fitting NCCL.
CollectiveGroups connect_groups(const ExecPlan& plan, Bootstrap& bootstrap);

}  // namespace orrery
