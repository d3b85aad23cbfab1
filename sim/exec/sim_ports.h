// Who slows whom on one GPU: the ports that its communication kernels share, and the SMs that they
// take from compute.
//
// An op in flight asks for a share of each port when it runs at its full speed (its demand). Of the
// ops on a GPU each gets the same share of the port that it uses most, until it has its full speed
// or a port is full: dominant-resource fairness (Ghodsi et al., NSDI 2011), which on one port is
// max-min fairness. Compute beside an op may lower its full speed (`beside_compute`). A collective
// runs at the speed of its slowest member.
//
// The fabric's uplinks count as ports, with the GPU's share of them (sim/net/fabric.h): neighbours
// do the same at the same time, so that equal shares are what the links would give them, and one
// rank stands for its class exactly.
//
// Sets of ops in flight are few (a GPU has a dozen streams and a plan a few kinds of collectives),
// so each is solved once and has a number; ops that start and end move from number to number.
// Ignored: HBM traffic of communication, the gaps that a slowed peer leaves to others' ports.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "sim/base/units.h"
#include "sim/graph/op.h"

namespace orrery {

enum class Port : uint8_t { kNicOut, kNicIn, kGpuOut, kGpuIn, kLeaf, kPod };
constexpr int kPorts = 6;

// Whose channels hold SMs, from the start of the kernel, which then waits there for its peers.
enum class SmHolder : uint8_t { kNone, kCollective, kP2p };

struct PortDemand {
  std::array<double, kPorts> port{};  // share of each at full speed
  double beside_compute = 1;          // speed when compute kernels run
  Resource resource = Resource::kCompute;
  SmHolder holder = SmHolder::kNone;

  bool operator==(const PortDemand& o) const {
    for (int p = 0; p < kPorts; ++p)
      if (port[static_cast<std::size_t>(p)] != o.port[static_cast<std::size_t>(p)]) return false;
    return beside_compute == o.beside_compute && resource == o.resource && holder == o.holder;
  }
};

class PortStates {
 public:
  using State = uint16_t;
  static constexpr std::size_t kMostKinds = 192;
  static constexpr State kIdle = 0;

  // The number of a kind of op; equal demands have one number. Beyond kMostKinds, which no plan of
  // few collectives comes near, a new demand counts as the one most like it.
  uint8_t kind(const PortDemand& d);

  // The state after an op of a kind started or ended. O(1) once seen.
  State with(State s, uint8_t kind) { return step(s, kind, 0); }
  State without(State s, uint8_t kind) { return step(s, kind, 1); }

  // Time of an op of `kind` over its time at full speed; 1 or more, 1 if none is in flight.
  double slowdown(State s, uint8_t kind) const {
    const std::vector<double>& of_kind = states_[s].slowdown;
    return kind < of_kind.size() ? of_kind[kind] : 1;
  }
  // Beside bits (plan_timing.h) of a compute op.
  unsigned beside_compute(State s) const { return states_[s].beside; }

 private:
  using Counts = std::vector<uint8_t>;  // ops of each kind in flight
  struct Solved {
    Counts counts;
    std::vector<double> slowdown;
    unsigned beside = 0;
    std::array<std::vector<State>, 2> next;  // with, without; UINT16_MAX: not seen yet
  };
  static constexpr State kUnseen = UINT16_MAX;

  State step(State s, uint8_t kind, int direction) {
    std::vector<State>& next = states_[s].next[static_cast<std::size_t>(direction)];
    return kind < next.size() && next[kind] != kUnseen ? next[kind] : learn(s, kind, direction);
  }
  uint8_t nearest(const PortDemand& d) const;
  State learn(State s, uint8_t kind, int direction);
  State intern(Counts counts);
  Solved solve(Counts counts) const;

  std::vector<PortDemand> kinds_;
  std::vector<Solved> states_{1};
  // Element by element: GCC 12 takes the memcmp of the default order for an overrun.
  struct Less {
    bool operator()(const Counts& a, const Counts& b) const {
      return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                          [](uint8_t x, uint8_t y) { return x < y; });
    }
  };
  std::map<Counts, State, Less> numbers_{{{}, kIdle}};
};

}  // namespace orrery
