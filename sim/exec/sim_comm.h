// Costs of the communication ops of an ExecPlan: the collectives of sim/net/ on the groups of the
// plan, placed on the cluster by their ranks.
#pragma once

#include <map>
#include <tuple>

#include "sim/exec/sim_timing.h"
#include "sim/net/collectives/collective.h"
#include "sim/net/fabric.h"

namespace orrery {

struct CommCost {
  double alone_s = 0;       // nothing else on the GPU
  double overlapped_s = 0;  // compute kernels share the GPU, nothing else its ports
};

class CommCosts {
 public:
  CommCosts(const ExecPlan& plan, const TimingInput& in) : plan_(plan), in_(in) {}

  // Of an op with a communicator. O(1) once the communicator has been seen, else O(ranks).
  CommCost cost(const RankClass& c, const PlanOp& p);

 private:
  const GroupLinks& links(const RankClass& c, const Communicator& comm, TrafficPattern pattern);
  double tokens_s(const Op& op, const GroupLinks& links, double network_fraction,
                  double forward_fraction) const;

  const ExecPlan& plan_;
  const TimingInput& in_;
  // By kind, key and first rank of the group of the class's first replica.
  std::map<std::tuple<CommKind, uint32_t, int64_t, TrafficPattern>, GroupLinks> links_;
};

}  // namespace orrery
