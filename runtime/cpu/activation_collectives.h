// Collectives of tensor, context and expert-tensor parallelism: each member brings whole tensors
// and gets others.
#pragma once

#include "runtime/cpu/collectives.h"
#include "runtime/model/on_activations.h"

namespace orrery {

template <class T>
ThreadCommunicator::Work activation_work(OpKind kind);

}  // namespace orrery
