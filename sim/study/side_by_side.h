// Two timelines beside each other: where the time goes, how streams are used, gaps and memory. What
// is called predicted and measured here are, of two runs, the first and the second.
#pragma once

#include <string>
#include <vector>

#include "sim/study/compare_gaps.h"
#include "sim/study/stream_use.h"

namespace orrery {

struct ComparedRow {
  std::string name;
  double predicted_us = 0;
  double measured_us = 0;
  int predicted_count = 0, measured_count = 0;
  double error() const { return measured_us > 0 ? predicted_us / measured_us - 1 : 0; }
  double miss_us() const { return predicted_us - measured_us; }
};
// The largest difference in time first; order of equal ones kept.
void largest_misses_first(std::vector<ComparedRow>& rows);

// A track of the ranks of a class; times are means over them.
struct TrackSide {
  double busy_us = 0, idle_us = 0;
  double gaps = 0;            // mean number
  double longest_us = 0;      // of the gaps of any of the ranks
  std::string after, before;  // the ops around it
};
struct ComparedTrack {
  int rank_class = 0;
  std::string track;
  TrackSide predicted, measured;
};

// Of the fullest measured rank of a class. Bytes are -1 where not known.
struct ComparedMemory {
  int rank_class = 0;
  int64_t rank = 0;
  int64_t predicted_peak = -1, measured_peak = -1;
  std::string predicted_at, measured_at;
  // At the ops that both have.
  int64_t ops = 0;
  double mean_error = 0;  // mean of |predicted / measured - 1|
  std::string largest_at;
  int64_t predicted_there = 0, measured_there = 0;
  // The timeline, shortened: the most held at an op of each call.
  struct AtCall {
    uint32_t call;
    int64_t predicted, measured;
  };
  std::vector<AtCall> calls;
};

struct SideBySide {
  Overlap predicted, measured;  // means over the ranks of a class, then over the classes
  std::vector<ComparedTrack> tracks;
  std::vector<ComparedGap> gaps;       // in computation, the largest differences first
  std::vector<ComparedMemory> memory;  // by class
};

// Compares ranks by class. Ops that have the same class, call and op are the same where `joined`.
SideBySide put_side_by_side(const Timeline& predicted, const Timeline& measured, bool joined);

}  // namespace orrery
