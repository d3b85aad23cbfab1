// The op records of the last step, as a file.
#pragma once

#include <string>

#include "runtime/executor.h"
#include "sim/exec/run_trace.h"

namespace orrery {

// Takes the executor's records, which it has rank after rank: so the n-th record of an op of a
// class is that of the n-th local rank of the class.
RunTrace take_trace(const ExecPlan& plan, Executor& executor, const std::string& experiment,
                    const std::string& device);

// Collective. Processes without rank 0 write "<path>.rank<first local rank>", which the one with
// rank 0 adds to its own and removes: so `path` is on a file system that all share.
void write_trace(const std::string& path, RunTrace trace, const ExecPlan& plan, Executor& executor);

}  // namespace orrery
