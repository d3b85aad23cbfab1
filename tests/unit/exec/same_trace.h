#pragma once

#include <algorithm>

#include "sim/exec/sim_backend.h"
#include "tests/catch.h"

namespace orrery {

// Times, events and peaks of all classes.
inline void check_same(const StepTrace& a, const StepTrace& b) {
  CHECK(a.step == b.step);
  CHECK(a.events == b.events);
  REQUIRE(a.time.size() == b.time.size());
  for (std::size_t c = 0; c < a.time.size(); ++c) {
    CAPTURE(c);
    CHECK(a.time[c].bubble == b.time[c].bubble);
    for (int k = 0; k < kBlockKinds; ++k) {
      CHECK(a.time[c].block[k] == b.time[c].block[k]);
      CHECK(a.time[c].host[k] == b.time[c].host[k]);
      CHECK(std::equal(std::begin(a.time[c].exposed[k]), std::end(a.time[c].exposed[k]),
                       b.time[c].exposed[k]));
    }
    CHECK(a.memory[c].peak == b.memory[c].peak);
    CHECK(a.memory[c].peak_op == b.memory[c].peak_op);
    CHECK(std::equal(std::begin(a.memory[c].by_kind), std::end(a.memory[c].by_kind),
                     b.memory[c].by_kind));
  }
}

}  // namespace orrery
