// Which gradients of a share start a step as zeros.
#pragma once

#include <vector>

#include "sim/graph/optimizer.h"

namespace orrery {

struct ElementRange {
  int64_t begin = 0, elements = 0;  // of the share's flat array
};

// All but those that a product writes (Param::gradient_written) and the padding after them, which
// stays zero; in ascending order.
std::vector<ElementRange> zeroed_gradients(const StageGraph& graph, const OptimizerShare& share);

}  // namespace orrery
