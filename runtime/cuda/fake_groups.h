// The groups of one rank that runs without the others, as Megatron-LM and PyTorch have with a fake
// process group.
#pragma once

#include "runtime/cuda/collectives.h"

namespace orrery {

// Calls do what they do on this rank were its peers copies of it, with local copies:
//   exchange        what this rank has for a peer comes back from it, so that as many rows
//                   arrive as leave: those of a balanced group
//   all_gather      the peers' parts are copies of this rank's
//   all_reduce and reduce_scatter of arrays in place leave this rank's addend; of activations the
//                   peers' addends are copies of this rank's
//   shift           what this rank sends
//   send            nothing
//   receive         uniform random values in [-1, 1), the same each time
CollectiveGroups fake_groups(const ExecPlan& plan, int64_t rank);

}  // namespace orrery
