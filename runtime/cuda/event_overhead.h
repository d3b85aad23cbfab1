// What timing an op by two events adds to it.
#pragma once

#include <cuda_runtime.h>

#include "sim/base/units.h"

namespace orrery {

// The median time between two events around a fill of four bytes, less the time of one such fill
// among many that follow each other: what events before and after a kernel add to its own time and
// the gap to the next. Waits for the stream.
Picos event_overhead(cudaStream_t stream);

}  // namespace orrery
