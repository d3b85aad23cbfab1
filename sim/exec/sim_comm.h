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
  double seconds = 0;  // with nothing else on the GPU
  PortDemand demand;
};

class CommCosts {
 public:
  CommCosts(const ExecPlan& plan, const TimingInput& in) : plan_(plan), in_(in) {}

  // Of an op with a communicator. O(1) once the communicator has been seen, else O(ranks).
  CommCost cost(const RankClass& c, const PlanOp& p);

 private:
  struct Group {
    GroupLinks links;
    FabricCrossing crossing;
  };
  const Group& group(const Communicator& comm, TrafficPattern pattern);
  double routed_GBps(CommKind kind, TrafficPattern pattern);
  CollectiveCost tokens(const Op& op, const GroupLinks& links, double network_fraction,
                        double forward_fraction) const;
  CommCost with_demand(const CollectiveCost& cost, const Group& g, const Op& op) const;
  double chunk_s(Collective c, const GroupLinks& links, Bytes bytes, const CollectiveCost& cost);

  const ExecPlan& plan_;
  const TimingInput& in_;
  // By kind and key: of the first replica's group.
  std::map<std::tuple<CommKind, uint32_t, TrafficPattern>, Group> groups_;
  std::map<std::pair<CommKind, TrafficPattern>, double> routed_;
  // Seconds by steps: collective, ranks, nodes, bytes, network rate in bits.
  std::map<std::tuple<Collective, int64_t, int64_t, int64_t, double>, double> chunks_;
};

}  // namespace orrery
