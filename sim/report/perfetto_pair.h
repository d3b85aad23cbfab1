// Two timelines in one Chrome/Perfetto trace: a process for each rank of each side, those of one
// rank class beside each other, a thread per stream, a memory counter. Both start at time 0, the
// start of the step.
#pragma once

#include <string>

#include "sim/report/side_by_side.h"

namespace orrery {

// Ops that have the same class, call and op are the same where `joined`: each then says how long it
// takes on the other side.
std::string side_by_side_trace(const std::string& title, const Timeline& first,
                               const Timeline& second, const Sides& sides, bool joined);

}  // namespace orrery
