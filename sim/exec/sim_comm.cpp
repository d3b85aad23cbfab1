#include "sim/exec/sim_comm.h"

#include <algorithm>
#include <cmath>

#include "sim/net/collectives/hierarchical.h"

namespace orrery {
namespace {

double d(int64_t x) { return static_cast<double>(x); }

Collective collective_of(OpKind k) {
  switch (k) {
    case OpKind::kReduceScatter:
      return Collective::kReduceScatter;
    case OpKind::kAllGather:
      return Collective::kAllGather;
    case OpKind::kAllReduce:
      return Collective::kAllReduce;
    case OpKind::kScatterHeads:
    case OpKind::kGatherHeads:
      return Collective::kAllToAll;
    default:
      return Collective::kSendRecv;
  }
}

}  // namespace

const CommCosts::Group& CommCosts::group(const RankClass& c, const Communicator& comm,
                                         TrafficPattern pattern) {
  // Classes of one (kind, key) may hold different groups of it (the stages of a pipeline do not);
  // groups of one class differ only in their position.
  const auto [it, fresh] = groups_.try_emplace({comm.kind, comm.key, c.first_rank, pattern});
  if (fresh)
    it->second.links =
        group_links(in_.cluster, plan_.members(comm, 0), pattern, &it->second.crossing);
  return it->second;
}

CollectiveCost CommCosts::tokens(const Op& op, const GroupLinks& l, double network_fraction,
                                 double forward_fraction) const {
  const NodeSpec& node = in_.cluster.node;
  const TokenTraffic traffic{d(op.work.network.count()),
                             d(expert_rows(in_.graph).arrived * op.shape.n)};
  // The kernels' fractions are of the line rate; an oversubscribed fabric lowers it.
  const double line = node.nic_GBps.value * d(node.nics) / d(node.gpus);
  const double through =
      l.network_GBps / (in_.cluster.network_per_gpu().count() / 1e9 * d(l.per_node()));
  const TokenRates rates{line * through, network_fraction, l.nodes > 1 ? forward_fraction : 1};
  return token_all_to_all(l, traffic, rates, node.nvlink_latency_us.value);
}

// Bytes over the op's time, as shares of what the ports carry.
CommCost CommCosts::with_demand(const CollectiveCost& cost, const Group& g, const Op& op) const {
  CommCost c;
  c.seconds = cost.seconds();
  if (c.seconds <= 0) return c;
  const TopologySpec& t = in_.cluster.topology;
  const double network = cost.network_bytes / c.seconds / in_.cluster.network_per_gpu().count();
  const double gpu = cost.gpu_bytes / c.seconds / (g.links.gpu_GBps * 1e9);
  // To a 64th, so that buffers of different sizes make one kind of demand.
  const auto set = [&](Port p, double share) {
    c.demand.port[static_cast<std::size_t>(p)] = std::min(1.0, std::round(share * 64) / 64);
  };
  if (op.kind != OpKind::kRecv) set(Port::kNicOut, network), set(Port::kGpuOut, gpu);
  if (op.kind != OpKind::kSend) set(Port::kNicIn, network), set(Port::kGpuIn, gpu);
  set(Port::kLeaf, network * g.crossing.leaf * t.leaf_oversubscription);
  set(Port::kPod, network * g.crossing.pod * t.leaf_oversubscription * t.pod_oversubscription);
  return c;
}

CommCost CommCosts::cost(const RankClass& c, const PlanOp& p) {
  const Op& op = plan_.graph_op(p);
  const StackSpec& s = in_.graph.stack;
  const Communicator& comm = c.communicators[static_cast<std::size_t>(p.communicator)];
  if (op.kind == OpKind::kNotify) return {s.all_to_all_barrier_us.value * 1e-6, {}};
  if (op.kind == OpKind::kDispatch || op.kind == OpKind::kCombine) {
    const AllToAllSpec& kernel = op.kind == OpKind::kCombine ? s.combine
                                 : is_forward(op)            ? s.dispatch
                                                             : s.cached_dispatch;
    const Group& g = group(c, comm, TrafficPattern::kPairs);
    const double forward = kernel.forward_fraction.value;
    const CollectiveCost alone = tokens(op, g.links, kernel.alone_fraction.value, forward);
    CommCost cost = with_demand(alone, g, op);
    cost.demand.beside_compute =
        alone.seconds() / tokens(op, g.links, kernel.overlapped_fraction.value, forward).seconds();
    return cost;
  }
  const Group& g = group(c, comm, TrafficPattern::kRing);
  CommCost cost = with_demand(
      collective_cost(s.collectives, collective_of(op.kind), g.links, op.work.network), g, op);
  cost.demand.collective = op.kind != OpKind::kSend && op.kind != OpKind::kRecv;
  return cost;
}

}  // namespace orrery
