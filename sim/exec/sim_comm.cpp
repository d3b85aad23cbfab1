#include "sim/exec/sim_comm.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "sim/base/casts.h"
#include "sim/net/chunk.h"
#include "sim/net/collectives/hierarchical.h"
#include "sim/net/routed_rate.h"

namespace orrery {
namespace {

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
    case OpKind::kDispatch:
    case OpKind::kCombine:
      return Collective::kAllToAll;
    default:
      return Collective::kSendRecv;
  }
}

}  // namespace

const CommCosts::Group& CommCosts::group(const Communicator& comm, TrafficPattern pattern) {
  // Groups of one (kind, key) differ only in their position.
  const auto [it, fresh] = groups_.try_emplace({comm.kind, comm.key, pattern});
  if (!fresh) return it->second;
  Group& g = it->second;
  g.links = group_links(in_.cluster, plan_.members(comm, 0), pattern, &g.crossing);
  if (g.links.nodes > 1 && needs_routing(in_.cluster.topology))
    g.links.network_GBps = std::min(g.links.network_GBps, routed_GBps(comm.kind, pattern));
  return g;
}

// All groups of a kind at once, whatever stage they belong to.
double CommCosts::routed_GBps(CommKind kind, TrafficPattern pattern) {
  const auto [it, fresh] = routed_.try_emplace({kind, pattern}, 0);
  if (!fresh) return it->second;
  std::set<std::vector<int64_t>> groups;
  for (const RankClass& c : plan_.classes)
    for (const Communicator& comm : c.communicators) {
      if (comm.kind != kind) continue;
      std::set<int64_t> seen;
      for (int64_t r = 0; r < c.multiplicity; ++r)
        if (seen.insert(plan_.group_of(comm, r)).second) groups.insert(plan_.members(comm, r));
    }
  const std::vector<std::vector<int64_t>> all(groups.begin(), groups.end());
  return it->second = routed_rate_GBps(in_.cluster, all, pattern);
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

double CommCosts::chunk_s(Collective c, const GroupLinks& l, Bytes bytes,
                          const CollectiveCost& cost) {
  const auto [it, fresh] =
      chunks_.try_emplace({c, l.ranks, l.nodes, bytes.count(), l.network_GBps}, 0);
  if (fresh)
    it->second =
        chunk_seconds(in_.graph.stack.collectives, c, l, bytes, cost.algorithm, cost.protocol);
  return it->second;
}

CommCost CommCosts::cost(const RankClass& c, const PlanOp& p) {
  const Op& op = plan_.graph_op(p);
  const StackSpec& s = in_.graph.stack;
  const Communicator& comm = c.communicators[static_cast<std::size_t>(p.communicator)];
  if (op.kind == OpKind::kNotify) {
    constexpr Bytes kWord(4);
    const GroupLinks& links = group(comm, TrafficPattern::kRing).links;
    const double wait =
        s.barrier_all_reduces
            ? collective_cost(s.collectives, Collective::kAllReduce, links, kWord).seconds()
            : 0;
    return {s.all_to_all_barrier_us.value * 1e-6 + wait, {}};
  }
  if (s.token_dispatch == TokenDispatch::kPerNode &&
      (op.kind == OpKind::kDispatch || op.kind == OpKind::kCombine)) {
    const AllToAllSpec& kernel = op.kind == OpKind::kCombine ? s.combine
                                 : is_forward(op)            ? s.dispatch
                                                             : s.cached_dispatch;
    const Group& g = group(comm, TrafficPattern::kPairs);
    const double forward = kernel.forward_fraction.value;
    const CollectiveCost alone = tokens(op, g.links, kernel.alone_fraction.value, forward);
    CommCost cost = with_demand(alone, g, op);
    cost.demand.beside_compute =
        alone.seconds() / tokens(op, g.links, kernel.overlapped_fraction.value, forward).seconds();
    return cost;
  }
  const Collective what = collective_of(op.kind);
  const Group& g =
      group(comm, what == Collective::kAllToAll ? TrafficPattern::kPairs : TrafficPattern::kRing);
  CollectiveCost formula = collective_cost(s.collectives, what, g.links, op.work.network);
  if (in_.collectives == CollectiveTier::kChunk &&
      has_chunk_model(what, g.links, formula.algorithm))
    formula.transfer_s = chunk_s(what, g.links, op.work.network, formula) - formula.latency_s;
  CommCost cost = with_demand(formula, g, op);
  if (cost.seconds <= 0) return cost;
  if (op.kind != OpKind::kSend && op.kind != OpKind::kRecv)
    cost.demand.holder = SmHolder::kCollective;
  else if (s.posts_receives_early && g.links.nodes == 1)
    cost.demand.holder = SmHolder::kP2p;
  return cost;
}

}  // namespace orrery
