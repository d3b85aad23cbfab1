// A rank's shard of a matrix in the whole one.
#pragma once

#include <cstdint>

#include "sim/graph/training_graph.h"

namespace orrery {

// The parameter as one rank without tensor parallelism has it. O(1).
Param whole_param(const Param& p);

// Where element `index` of shard number `shard` of one of the parameter's matrices (an expert's, or
// the only one; row-major) is in that whole matrix. O(1).
int64_t whole_index(const Param& p, int64_t shard, int64_t index);

}  // namespace orrery
