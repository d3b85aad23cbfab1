// What a flat share of weights means to the optimizer, by ranges of its elements.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/graph/optimizer.h"

namespace orrery {

// One flag per 128 elements of the share: 1 where weight decay applies, which is to matrices and
// not to norms.
std::vector<uint8_t> decay_chunks(const StageGraph& graph, const OptimizerShare& share);

// The parts of this owner's shard of the share, `owned`, that enter the
// gradient norm: all but an embedding that another stage counts, and on ranks other than the first
// of their tensor-parallel group (`tensor`) what all of that group hold.
struct NormRange {
  int64_t begin, elements;  // from the start of the shard
};
std::vector<NormRange> norm_ranges(const StageGraph& graph, const OptimizerShare& share,
                                   const ShardRange& owned, int64_t tensor);

}  // namespace orrery
