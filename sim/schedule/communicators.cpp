#include "sim/schedule/communicators.h"

#include <algorithm>

#include "sim/schedule/schedule.h"

namespace orrery {
namespace {

// Named by the rank that sends and its lane: between two ranks all transfers of a lane and pass go
// in one order.
Communicator p2p(const PlanContext& p, const PlanOp& o, const Op& op) {
  const PlanSpec& plan = p.config.plan;
  const bool sends = op.kind == OpKind::kSend;
  const bool up = sends == (op.comm == CommKind::kForwardP2p);  // the peer's is the next stage
  const int lane = lane_of_chunk(plan.schedule, o.chunk);
  const int stage = static_cast<int>(o.stage);
  const StagePlace self = place_of_stage(plan, stage, lane);
  const StagePlace peer = place_of_stage(plan, up ? stage + 1 : stage - 1, lane);
  const StagePlace& sender = sends ? self : peer;
  return {op.comm, static_cast<uint32_t>(sender.rank * 2 + sender.lane),
          self.rank == peer.rank ? 1 : 2};
}

Communicator communicator(const PlanContext& p, const RankClass& c, const PlanOp& o, const Op& op) {
  const PlanSpec& plan = p.config.plan;
  switch (op.comm) {
    case CommKind::kForwardP2p:
    case CommKind::kBackwardP2p:
      return p2p(p, o, op);
    case CommKind::kExpert:
      return {op.comm, static_cast<uint32_t>(&c - p.plan.classes.data()), plan.expert_parallel};
    case CommKind::kData:
    case CommKind::kExpertData: {
      const int st = stage_of(c, op.unit);
      const int64_t n = p.replicas(st);
      return {op.comm, static_cast<uint32_t>(st),
              op.comm == CommKind::kData ? n : n / plan.expert_parallel};
    }
    case CommKind::kEmbedding:
      return {op.comm, 0, p.embedding_copies};
    default:
      return {CommKind::kWorld, 0, plan.world_size()};
  }
}

}  // namespace

void bind_communicators(const PlanContext& p, RankClass& c, std::vector<PlanOp>& ops,
                        std::size_t first_op) {
  for (std::size_t i = first_op; i < ops.size(); ++i) {
    PlanOp& o = ops[i];
    const Op& op = p.plan.graph_op(o);
    if (op.comm == CommKind::kNone) continue;
    const Communicator want = communicator(p, c, o, op);
    auto it = std::find_if(
        c.communicators.begin(), c.communicators.end(),
        [&](const Communicator& x) { return x.kind == want.kind && x.key == want.key; });
    if (it == c.communicators.end()) it = c.communicators.insert(it, want);
    o.communicator = static_cast<int16_t>(it - c.communicators.begin());
  }
}

}  // namespace orrery
