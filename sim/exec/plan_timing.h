// How long the ops of an ExecPlan take. A plan has tens of thousands of ops and a few hundred
// durations, so each is kept once.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sim/exec/sim_ports.h"

namespace orrery {

constexpr unsigned kBesideOther = 1;  // an all-to-all
constexpr unsigned kBesideSame = 2;   // a second compute kernel
constexpr unsigned kBesideCollective = 4;
constexpr unsigned kBesideP2p = 8;  // a send or a receive between pipeline stages
constexpr int kBesideStates = 16;

struct OpTiming {
  Picos duration[kBesideStates];  // communication: of an op with its full speed, in all of them
  // Compute: how long the blocks of the kernel, alone on the GPU, keep the SMs that a kernel of
  // communication waits for; 0: it need not wait.
  Picos held;
  // CPU time of the rank to issue it (sim_host_costs.h), and, of an op whose result the CPU waits
  // for before it issues anything else, from its end until the CPU has read that; 0: it does not.
  Picos host, read_back;
  Resource resource = Resource::kCompute;
  PortDemand demand;

  bool operator==(const OpTiming& o) const;
};

class PlanTiming {
 public:
  PlanTiming() = default;
  explicit PlanTiming(const std::vector<OpTiming>& each);

  std::size_t size() const { return of_op_.size(); }
  const OpTiming& operator[](std::size_t op) const { return distinct_[of_op_[op]]; }
  // Ops with equal timings have equal numbers, which index distinct().
  uint32_t number(std::size_t op) const { return of_op_[op]; }
  const std::vector<OpTiming>& distinct() const { return distinct_; }

  // Of a plan with that many ops, all of number 0 so far.
  void resize(std::size_t ops) { of_op_.resize(ops); }
  uint32_t number_of(const OpTiming& t);  // O(1)
  void set(std::size_t op, uint32_t number) { of_op_[op] = number; }

 private:
  std::vector<uint32_t> of_op_;
  std::vector<OpTiming> distinct_;
  std::unordered_multimap<uint64_t, uint32_t> known_;  // by hash; looked up, never walked
};

}  // namespace orrery
