// The trace of a step that was really run beside the simulated step of the same plan, or beside
// that of another run of it, joined on the ops' identity: class, call and op.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/exec/run_trace.h"
#include "sim/import/run_metrics.h"
#include "sim/study/predict.h"
#include "sim/study/side_by_side.h"

namespace orrery {

// One operator of a stage's graph, over all its calls and classes: `row` holds sums, counts the
// ops.
struct ComparedOp {
  int stage = -1;  // -1: of two runs, whose traces do not say
  std::string kind;
  std::string group;  // its name without the layer
  OpShape shape;
  ComparedRow row;
};

struct RunComparison {
  std::string experiment, device;                // of the trace; of two runs, of the first
  std::string second_experiment, second_device;  // of two runs
  // Of a run: of the slowest rank, first start to last end. Of a rank with a fake process group:
  // the sum over its ops but those that communicate.
  ComparedRow step;
  // With a fake process group: the predicted communication ops, which did not run.
  std::optional<ComparedRow> not_run;
  // Against the other steps of the run: the traced one has two more events an op.
  std::optional<ComparedRow> untraced;
  int untraced_steps = 0;
  // By op kind, the longest measured first: times of the ops of one rank of each class, measured
  // ones as the mean over the ranks of the class. Empty when no side says the kinds.
  std::vector<ComparedRow> kinds;
  std::vector<ComparedOp> ops;  // likewise, by operator
  int64_t matched = 0;  // (class, call, op) that both have under one name, on all ranks of a class
  std::vector<std::string> only_simulated, only_measured;  // "class 0 call 3 layer 1 mlp(F) ..."
  bool complete() const { return only_simulated.empty() && only_measured.empty(); }
  Timeline predicted, measured;
  SideBySide sides;
};

// The step is predicted as runs go without a trace; the ops, and the timeline, as those of a step
// that launches kernels one by one (GpuSpec::stream_launch_gap_us).
RunComparison compare_run(const StudySpec& study, const RunTrace& trace);
// Adds what the metrics of the run say of its other steps and, where the trace does not, of memory.
void add_metrics(RunComparison& c, const RunMetrics& metrics);

struct NamedRun {
  std::string path;
  RunTrace trace;
};
// The first in the place of the prediction. Throws InputError with what differs when the two are
// not of one plan.
RunComparison compare_runs(const NamedRun& a, const NamedRun& b);

// Rows summed over the layers, and so over the operators of a name.
std::vector<ComparedRow> by_group(const std::vector<ComparedOp>& ops);

}  // namespace orrery
