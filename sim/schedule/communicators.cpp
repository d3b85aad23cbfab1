#include "sim/schedule/communicators.h"

#include <algorithm>

namespace orrery {
namespace {

// The boundary is named by its upstream stage.
uint32_t boundary(uint32_t stage, bool upstream) { return upstream ? stage : stage - 1; }

Communicator communicator(const PlanContext& p, const RankClass& c, const PlanOp& o, const Op& op) {
  const PlanSpec& plan = p.config.plan;
  const auto stage_of_op = static_cast<uint32_t>(o.stage);
  const uint32_t chunk = static_cast<uint32_t>(o.chunk);
  switch (op.comm) {
    // One boundary: between the stage that sends activations and the next, per chunk direction.
    case CommKind::kForwardP2p:
      return {op.comm, boundary(stage_of_op, op.kind == OpKind::kSend) * 2 + chunk, 2};
    case CommKind::kBackwardP2p:
      return {op.comm, boundary(stage_of_op, op.kind == OpKind::kRecv) * 2 + chunk, 2};
    case CommKind::kExpert:
      return {op.comm, static_cast<uint32_t>(&c - p.plan.classes.data()) * 2 + chunk,
              plan.expert_parallel};
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
