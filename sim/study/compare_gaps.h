// Times in which a rank computes nothing, on both sides, by the ops around them.
#pragma once

#include <string>
#include <vector>

#include "sim/study/timeline.h"

namespace orrery {

// All gaps between ops of the same names, layers aside. Times and counts are means over the ranks
// of a class, summed over the classes.
struct ComparedGap {
  std::string after, before;  // the ops that it lies between
  std::string beside;         // what was communicated for most of the longest; "": nothing
  double gaps = 0;            // in the measured timeline
  double predicted_us = 0;    // idle between the same ops; 0 where the two do not name the same ops
  double measured_us = 0;
  double longest_us = 0;  // of the measured ones, its start and rank
  double longest_start_us = 0;
  int64_t longest_rank = 0;
  double miss_us() const { return predicted_us - measured_us; }
};

// The largest differences first. Where ops of the same class, call and op are the same (`joined`),
// gaps are compared one by one, those that only one side has with what the other idles between the
// same ops. O(ops · log ops).
std::vector<ComparedGap> compare_gaps(const Timeline& predicted, const Timeline& measured,
                                      bool joined);

}  // namespace orrery
