// Collectives of tensor, context and expert-tensor parallelism: each member brings whole tensors
// and gets others.
#pragma once

#include "runtime/cpu/collectives.h"

namespace orrery {

// Whether the op is one of them; those of the optimizer work on flat arrays.
bool on_activations(const Op& op);

template <class T>
ThreadCommunicator::Work activation_work(OpKind kind);

}  // namespace orrery
