// Stretches of a plan in which every rank class repeats the same calls for later micro-batches:
// what the engine's fast-forward may skip.
#pragma once

#include <vector>

#include "sim/graph/exec_plan.h"

namespace orrery {

// Calls [begin, end) of one class: call i + period runs the block of call i, `CallRegions::slots`
// slots further on, for every i and i + period inside.
struct CallRegion {
  uint32_t begin = 0, end = 0, period = 0;
};

struct CallRegions {
  int32_t slots =
      0;  // micro-batches by which one period advances every chunk of every class; 0: none
  std::vector<std::vector<CallRegion>> of_class;  // ascending, disjoint

  // The region of the class that holds all of [first, last]; nullptr: none.
  const CallRegion* find(std::size_t rank_class, uint32_t first, uint32_t last) const;
};

// The regions for the smallest advance with which every class has one of at least kMinPeriods.
// O(calls · tried advances).
constexpr uint32_t kMinPeriods = 3;
CallRegions find_regions(const ExecPlan& plan);

}  // namespace orrery
