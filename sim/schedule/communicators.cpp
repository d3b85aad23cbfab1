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

uint32_t class_of(const PlanContext& p, const RankClass& c) {
  return static_cast<uint32_t>(&c - p.plan.classes.data());
}

// Collectives of a stage's graph are on its own weights; those of an optimizer name the chunk.
int stage_of_weights(const RankClass& c, const PlanOp& o, const Op& op) {
  return op.segment == SegmentKind::kOptimizer ? stage_of(c, op.unit) : o.stage;
}

Communicator communicator(const PlanContext& p, const RankClass& c, const PlanOp& o, const Op& op) {
  const PlanSpec& plan = p.config.plan;
  switch (op.comm) {
    case CommKind::kForwardP2p:
    case CommKind::kBackwardP2p:
      return p2p(p, o, op);
    case CommKind::kExpert:
      return {op.comm, class_of(p, c), plan.expert_parallel};
    // Their ops are on one stream, and those of the optimizer after all others: one order on all
    // members.
    case CommKind::kTensor:
      return {op.comm, class_of(p, c), plan.tensor_parallel};
    case CommKind::kContext:
      return {op.comm, class_of(p, c), plan.context_parallel};
    case CommKind::kExpertTensor:
      return {op.comm, class_of(p, c), plan.expert_tensor_parallel};
    case CommKind::kData:
    case CommKind::kExpertData: {
      const int st = stage_of_weights(c, o, op);
      return {op.comm, static_cast<uint32_t>(st), p.replicas(st, op.comm == CommKind::kExpertData)};
    }
    case CommKind::kShard:
    case CommKind::kExpertShard: {
      const bool expert = op.comm == CommKind::kExpertShard;
      return {op.comm, static_cast<uint32_t>(stage_of_weights(c, o, op)),
              expert ? p.plan.expert_shard_group() : p.plan.shard_group};
    }
    case CommKind::kReplica:
    case CommKind::kExpertReplica: {
      const bool expert = op.comm == CommKind::kExpertReplica;
      const int st = stage_of_weights(c, o, op);
      return {op.comm, static_cast<uint32_t>(st),
              p.replicas(st, expert) / (expert ? p.plan.expert_shard_group() : p.plan.shard_group)};
    }
    case CommKind::kStage: {
      const int st = stage_of(c, op.unit);
      return {op.comm, static_cast<uint32_t>(st), p.stage_ranks(st)};
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
