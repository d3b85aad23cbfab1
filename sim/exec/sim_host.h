// When the CPU of a rank issues the launches of its program (OpTiming::host): one after the other
// in the order of the program. It runs ahead of the GPU until it issues an op whose result it waits
// for (OpTiming::read_back), and goes on when it has read that. So a launch is issued a fixed time
// after the last such op before it was read; before the first, after the start of the step.
//
// Ignored: launch queues that are full (1024 kernels).
#pragma once

#include <vector>

#include "sim/exec/plan_timing.h"
#include "sim/graph/exec_plan.h"

namespace orrery {

class HostProgram {
 public:
  struct Issue {
    uint32_t read_backs = 0;  // before it in the program
    Picos time;               // since the last of them was read
  };

  HostProgram() = default;
  HostProgram(const RankClass& c, const PlanTiming& timing);

  // The launch number `n` (StreamInstr::issue) of the block that the call runs.
  Issue at(uint32_t call, uint32_t block, uint32_t n) const {
    const Issue& before = calls_[call];
    const Issue& within = launches_[first_[block] + n];
    return {before.read_backs + within.read_backs,
            within.read_backs > 0 ? within.time : before.time + within.time};
  }
  // What is issued before the call's first launch.
  const Issue& before(uint32_t call) const { return calls_[call]; }

 private:
  std::vector<uint32_t> first_;  // per block: where its launches start
  std::vector<Issue> launches_;  // since the block's start, or the last read-back in it
  std::vector<Issue> calls_;     // one more than the class has
};

// What the CPU of an actor has done: its read-backs so far, and when the last was read; streams
// whose next launch comes after one that is still to be read.
struct HostState {
  uint32_t read_backs = 0;
  Picos since;  // from the start of the step
  uint16_t waiting = 0;
  int64_t held = 0;  // launches that were made later, since it had not issued them
};

}  // namespace orrery
