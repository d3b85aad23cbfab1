// Results of nccl-tests (all_reduce_perf and its like): the text on the terminal, or the JSON file
// of -J.
#pragma once

#include <string>
#include <vector>

#include "sim/base/units.h"

namespace orrery {

struct NcclTestPoint {
  Bytes size;
  std::string type;    // "float", ...
  double time_us = 0;  // out of place
  double bus_GBps = 0;
  double in_place_time_us = 0;
  double in_place_bus_GBps = 0;
};

struct NcclTestRun {
  std::string program;  // "all_reduce_perf"; "" where the output does not say
  std::string gpu;      // the driver's name of the first rank's; "" likewise
  int64_t ranks = 0;
  int64_t nodes = 0;  // different names of hosts
  std::vector<NcclTestPoint> points;
};

// Which of the two it is shows in the first character. Text may hold other lines before, between
// and after (of mpirun, of NCCL_DEBUG). Throws InputError naming the line when a row is broken,
// wrong values were counted (#wrong above 0), or there is no row. O(text).
NcclTestRun parse_nccl_tests(const std::string& text, const std::string& file);
NcclTestRun read_nccl_tests(const std::string& path);

}  // namespace orrery
