// What a collective does on one rank that runs without the others: see
// ExecutorOptions::fake_group_rank.
#pragma once

#include "runtime/cpu/collectives.h"

namespace orrery {

// Of the member at `position` among `members`, as if its peers were copies of it. Rows that go to a
// peer come back from it; parts of peers are copies of the own part; sums are left as this rank's
// addend; what is received is random. Collectives on activations take every peer's operands to be
// the own ones.
template <class T>
void fake_collective(const Op& op, int64_t members, int64_t position, Collective<T>& own);

}  // namespace orrery
