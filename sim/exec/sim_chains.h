// Runs of compute ops that follow each other on the compute stream with nothing between them but
// allocations: no event that another stream waits for, none that this one waits for. Nobody else
// can tell when one of them ends and the next starts, so the engine keeps a whole run in flight as
// one event, and looks into it only when what runs beside it changes. Sums of picoseconds are
// exact: every op starts and ends when it would have as an event of its own.
#pragma once

#include <array>
#include <vector>

#include "sim/exec/sim_timing.h"
#include "sim/exec/stream_program.h"

namespace orrery {

class ComputeChains {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // What it needs of an op: whether it may be part of a chain, and how long it takes.
  struct OpTimes {
    bool chainable = false;
    const int64_t* beside = nullptr;  // [kBesideStates], picoseconds
  };

  ComputeChains() = default;
  // times(plan op) -> OpTimes.
  template <class Times>
  ComputeChains(const StreamProgram& p, Times times) : at_(p.instrs.size(), kNone) {
    for (std::size_t b = 0; b * kStreams < p.ranges.size(); ++b) index(p, b, times);
  }

  // Number of the launch at that instruction, in program order; kNone: it is not part of a chain.
  uint32_t at(uint32_t instr) const { return at_[instr]; }
  std::size_t launches() const { return instr_.size(); }
  uint32_t instr(uint32_t launch) const { return instr_[launch]; }
  // The launch after the last one of the launch's chain.
  uint32_t end(uint32_t launch) const { return end_[launch]; }
  // Sums, in one Beside state, of the times of the launches before each. Filled on first use.
  const int64_t* sums(unsigned beside) {
    if (sums_[beside].empty() && !times_.empty()) fill(beside);
    return sums_[beside].data();
  }

 private:
  template <class Times>
  void index(const StreamProgram& p, std::size_t block, Times times) {
    const StreamProgram::Range r =
        p.ranges[block * kStreams + static_cast<std::size_t>(StreamKind::kCompute)];
    std::size_t first = instr_.size();  // of the chain so far
    const auto close = [&] {
      end_.resize(instr_.size(), static_cast<uint32_t>(instr_.size()));
      first = instr_.size();
    };
    for (uint32_t i = r.begin; i < r.end; ++i) {
      const StreamInstr& x = p.instrs[i];
      if (x.kind == Instr::Kind::kAlloc || x.kind == Instr::Kind::kFree) continue;
      const OpTimes t = x.kind == Instr::Kind::kLaunch ? times(x.arg) : OpTimes{};
      if (!t.chainable) {
        close();
        continue;
      }
      at_[i] = static_cast<uint32_t>(instr_.size());
      instr_.push_back(i);
      times_.push_back(t.beside);
    }
    close();
  }
  void fill(unsigned beside);

  std::vector<uint32_t> at_;           // per instruction
  std::vector<uint32_t> instr_, end_;  // per launch
  std::vector<const int64_t*> times_;  // per launch
  std::array<std::vector<int64_t>, kBesideStates> sums_;
};

// The chain that an actor's compute stream is in.
struct ChainFlight {
  uint32_t at = 0, end = 0;  // launches: the one that runs, and the one after the last
  unsigned beside = 0;       // state in which it runs
  bool flying = false;       // has a finish time
  bool gap_open = false;     // the wait before its first op is not accounted yet
  Picos began, until;        // of the op that runs
};

}  // namespace orrery
