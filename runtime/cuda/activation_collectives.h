// Collectives of tensor, context and expert-tensor parallelism on the device: each member brings
// whole tensors and gets others.
#pragma once

#include "runtime/cuda/collectives.h"

namespace orrery {

// Puts one of them (runtime/model/on_activations.h) on the stream. Rows of a group are in the order
// of its members.
void launch_activation_collective(CudaOpCall& c, Collectives& group);

}  // namespace orrery
