// What ran when on the streams of some ranks, predicted or measured, in one form, so that two can
// be put side by side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/exec/run_trace.h"
#include "sim/import/kineto.h"

namespace orrery {

// What ops have in common: an op of a stage's graph, or the kernels of a name.
struct Operator {
  std::string name;   // "layer 3 mlp(F) experts down fwd"
  std::string kind;   // op kind or kernel family; "" when a trace does not say
  std::string group;  // the name without the layer: "mlp(F) experts down fwd"
  bool communication = false;
  int stage = -1;
  OpShape shape;
};

struct TimelineOp {
  double start_us = 0, end_us = 0;  // on the rank's clock
  uint32_t oper = 0, stream = 0;    // of the timeline
  uint32_t call = 0, op = 0;        // of the plan: with the rank's class, the op's identity
  int64_t held_bytes = -1;          // by the rank once the op is on its stream; -1: not known
};

struct HeldBytes {
  double time_us = 0;
  int64_t bytes = 0;
};

struct RankTimeline {
  int64_t rank = 0;
  int rank_class = 0;
  std::vector<TimelineOp> ops = {};    // by start
  std::vector<HeldBytes> memory = {};  // by time; empty: not known
  int64_t peak_bytes = -1;             // -1: not known
  std::string peak_at = {};            // the op before it
};

struct TimelineStream {
  std::string name;
  // What streams are compared as: their names, or with another program's trace their roles.
  std::string track;
};

struct Timeline {
  std::vector<TimelineStream> streams;
  std::vector<Operator> operators;
  std::vector<RankTimeline> ranks;

  const Operator& oper(const TimelineOp& o) const { return operators[o.oper]; }
};

// From the start of the first op to the end of the last; {0, 0} of a rank that ran none.
struct Window {
  double begin_us = 0, end_us = 0;
  double length_us() const { return end_us - begin_us; }
};
Window window(const RankTimeline& rank);

// A recorded simulation: the first rank of each class. Memory without `reserved`, which no runtime
// counts. O(ops · log ops).
Timeline predicted_timeline(const ExecPlan& plan, const StepTrace& step, Bytes reserved);

// A run. With `plan`, ops that it has under the same name are described as it does; ops of others
// by what the trace says, where one without kinds has communication on all but the compute streams.
Timeline run_timeline(const RunTrace& trace, const ExecPlan* plan);

// How a plan is compared with another program's trace: by families of kernels and by two roles of
// streams. Of the predicted timeline one rank, as class 0; its compute ops end `launch_gap_us`
// earlier, since a measured kernel ends where the next may start.
Timeline predicted_kernels(const ExecPlan& plan, const StepTrace& step, Bytes reserved,
                           int rank_class, double launch_gap_us);
Timeline kernel_timeline(const MeasuredTrace& trace, int64_t rank);
constexpr std::string_view kComputeTrack = "compute", kCommunicationTrack = "communication";

}  // namespace orrery
