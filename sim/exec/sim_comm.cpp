#include "sim/exec/sim_comm.h"

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
    default:
      return Collective::kSendRecv;
  }
}

}  // namespace

const GroupLinks& CommCosts::links(const RankClass& c, const Communicator& comm,
                                   TrafficPattern pattern) {
  // Classes of one (kind, key) may hold different groups of it (the stages of a pipeline do not);
  // groups of one class differ only in their position.
  const auto [it, fresh] = links_.try_emplace({comm.kind, comm.key, c.first_rank, pattern});
  if (fresh) it->second = group_links(in_.cluster, plan_.members(comm, 0), pattern);
  return it->second;
}

double CommCosts::tokens_s(const Op& op, const GroupLinks& l, double network_fraction,
                           double forward_fraction) const {
  const NodeSpec& node = in_.cluster.node;
  const TokenTraffic traffic{
      d(op.work.network.count()),
      d(expert_rows(in_.graph).arrived * op.shape.n)};
  // The kernels' fractions are of the line rate; an oversubscribed fabric lowers it.
  const double line = node.nic_GBps.value * d(node.nics) / d(node.gpus);
  const double through = l.network_GBps / (in_.cluster.network_per_gpu().count() / 1e9 *
                                           d(l.per_node()));
  const TokenRates rates{line * through, network_fraction, l.nodes > 1 ? forward_fraction : 1};
  return token_all_to_all(l, traffic, rates, node.nvlink_latency_us.value).seconds();
}

CommCost CommCosts::cost(const RankClass& c, const PlanOp& p) {
  const Op& op = plan_.graph_op(p);
  const StackSpec& s = in_.graph.stack;
  const Communicator& comm = c.communicators[static_cast<std::size_t>(p.communicator)];
  if (op.kind == OpKind::kNotify) {
    const double barrier = s.all_to_all_barrier_us.value * 1e-6;
    return {barrier, barrier};
  }
  if (op.kind == OpKind::kDispatch || op.kind == OpKind::kCombine) {
    const AllToAllSpec& kernel = op.kind == OpKind::kCombine   ? s.combine
                                 : is_forward(op)            ? s.dispatch
                                                               : s.cached_dispatch;
    const GroupLinks& l = links(c, comm, TrafficPattern::kPairs);
    const double forward = kernel.forward_fraction.value;
    return {tokens_s(op, l, kernel.alone_fraction.value, forward),
            tokens_s(op, l, kernel.overlapped_fraction.value, forward)};
  }
  const GroupLinks& l = links(c, comm, TrafficPattern::kRing);
  const double alone =
      collective_cost(s.collectives, collective_of(op.kind), l, op.work.network).seconds();
  return {alone, alone};
}

}  // namespace orrery
