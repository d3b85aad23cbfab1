// The trace of a step that was really run beside the simulated step of the same plan.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/exec/run_trace.h"
#include "sim/study/compare.h"

namespace orrery {

// One operator of a stage's graph, over all its calls and classes: `row` holds sums, counts the
// ops.
struct ComparedOp {
  int stage = 0;
  OpKind kind{};
  OpShape shape;
  ComparedRow row;
};

struct RunComparison {
  std::string experiment, device;  // of the trace
  ComparedRow step;                // measured: of the slowest rank, first start to last end
  // By op kind, the longest measured first: times of the ops of one rank of each class, measured
  // ones as the mean over the ranks of the class.
  std::vector<ComparedRow> kinds;
  std::vector<ComparedOp> ops;  // likewise, by operator
  int64_t matched = 0;  // (class, call, op) that are simulated, and in the trace on all its ranks
  std::vector<std::string> only_simulated, only_measured;  // "class 0 call 3 layer 1 mlp(F) ..."
  bool complete() const { return only_simulated.empty() && only_measured.empty(); }
};

RunComparison compare_run(const StudySpec& study, const RunTrace& trace);

}  // namespace orrery
