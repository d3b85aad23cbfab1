// Initial weights as a function of what a weight is, not of who holds it: every layout of a model
// starts from the same numbers.
#pragma once

#include <cstdint>

#include "sim/graph/training_graph.h"

namespace orrery {

// What the random numbers of a weight depend on but for its expert (kernels/init/normal.h).
uint64_t weight_key(const Param& p, uint64_t seed);

// Fills the matrices [rows / groups, cols] of `p`, the first of which is expert `first_expert` of
// its layer, with shard number `shard` of the whole ones. Normal values have standard deviation
// `sigma` and are sums of uniforms, so that they do not depend on a math library. The values are
// those of BF16.
void initial_weights(const Param& p, uint64_t seed, int64_t first_expert, int64_t shard,
                     double sigma, float* out);

}  // namespace orrery
