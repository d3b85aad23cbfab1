// Weight gradients that need no zeros to be added to.
#pragma once

#include "sim/graph/stage_builder.h"

namespace orrery {

// Sets Param::gradient_written where the stack has it and the plan one micro-batch a step: of
// weights of which one product alone makes the gradient, whole. Such products write 4 bytes an
// element and read none of them.
void mark_written_gradients(const GraphConfig& config, StageGraph& g);

}  // namespace orrery
