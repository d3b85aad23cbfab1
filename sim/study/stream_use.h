// How a rank's streams were used: time with ops, time between them, and how much of the
// communication ran beside computation.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "sim/study/timeline.h"

namespace orrery {

// Between two ops of a track, during which it runs none.
struct Gap {
  const TimelineOp* before = nullptr;  // the last to end
  const TimelineOp* after = nullptr;
  double us() const { return before == nullptr ? 0 : after->start_us - before->end_us; }
};

struct TrackUse {
  std::string track;
  double busy_us = 0;  // in which some op of the track runs
  double idle_us = 0;  // between its first op and its last in which none does
  int64_t ops = 0;
  std::vector<Gap> gaps;       // in order of time; refer to the timeline's ops
  const Gap* longest() const;  // nullptr: none
};

// Of each track of the rank that has ops, in the order of the streams. O(ops · log ops).
std::vector<TrackUse> track_use(const Timeline& timeline, const RankTimeline& rank);

// Where the time of a rank goes, from its first op to its last:
//   span = compute + (communication - hidden) + idle.
struct Overlap {
  double span_us = 0;
  double compute_us = 0;        // some computing op runs
  double communication_us = 0;  // some communicating op runs; waiting for its peers is part of it
  double hidden_us = 0;         // both do
  double exposed_us() const { return communication_us - hidden_us; }
  double idle_us() const { return std::max(0.0, span_us - compute_us - exposed_us()); }
  double hidden_fraction() const { return communication_us > 0 ? hidden_us / communication_us : 0; }
};
Overlap overlap(const Timeline& timeline, const RankTimeline& rank);

}  // namespace orrery
