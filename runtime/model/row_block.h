// Rows that travel between the ranks of a tensor-parallel group while products are computed
// (sim/graph/pipelined_rows.h).
#pragma once

#include <cstdint>

namespace orrery {

// Which rank's rows step `index`, from 1 on, of gathering works on at `rank`: its own first, then
// those of the ranks before it. Step `index` of a sum works on those of step index + 1.
constexpr int64_t row_block(int64_t rank, int64_t ranks, int64_t index) {
  return (rank + ranks - index + 1) % ranks;
}

}  // namespace orrery
