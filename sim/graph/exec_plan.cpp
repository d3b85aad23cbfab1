#include "sim/graph/exec_plan.h"

#include <fmt/format.h>

#include <limits>

#include "sim/base/error.h"

namespace orrery {

const std::string_view kBlockKindNames[kBlockKinds] = {
    "forward",          "backward", "backward input", "weight",
    "forward+backward", "recv",     "optimizer",      "reload"};

std::string ExecPlan::op_name(uint32_t plan_op) const {
  const Op& op = graph_op(ops[plan_op]);
  const std::string_view segment = kSegmentNames[static_cast<std::size_t>(op.segment)];
  if (op.layer < 0) return fmt::format("{} {}", segment, op.name);
  return fmt::format("layer {} {} {}", op.layer, segment, op.name);
}

int64_t ExecPlan::ranks() const {
  int64_t n = 0;
  for (const RankClass& c : classes) n += c.multiplicity;
  return n;
}

ExecPlan::Place ExecPlan::place(int64_t rank) const {
  for (std::size_t c = 0; c < classes.size(); ++c) {
    const int64_t replica = rank - classes[c].first_rank;
    if (replica >= 0 && replica < classes[c].multiplicity) return {c, replica};
  }
  throw Error(ExitCode::kInternal, fmt::format("rank {} is not in the plan", rank));
}

ExecPlan::Position ExecPlan::position(int64_t replica) const {
  const int64_t slice = replica / tensor_parallel, expert = replica / expert_tensor_parallel;
  return {replica % tensor_parallel,        slice % context_parallel, slice / context_parallel,
          replica % expert_tensor_parallel, expert % expert_parallel, expert / expert_parallel};
}

int64_t ExecPlan::group_of(const Communicator& c, int64_t replica) const {
  const Position p = position(replica);
  switch (c.kind) {
    case CommKind::kTensor:
      return replica / tensor_parallel;
    case CommKind::kContext:
      return p.data * tensor_parallel + p.tensor;
    case CommKind::kData:
      return p.tensor;
    case CommKind::kExpertTensor:
      return replica / expert_tensor_parallel;
    case CommKind::kExpert:
      return p.expert_data * expert_tensor_parallel + p.expert_tensor;
    case CommKind::kExpertData:
      return p.expert * expert_tensor_parallel + p.expert_tensor;
    case CommKind::kShard:
      return replica / tensor_parallel / shard_group * tensor_parallel + p.tensor;
    case CommKind::kReplica:
      return replica / tensor_parallel % shard_group * tensor_parallel + p.tensor;
    case CommKind::kExpertShard:
      return p.expert_data / expert_shard_group() * experts() + replica % experts();
    case CommKind::kExpertReplica:
      return p.expert_data % expert_shard_group() * experts() + replica % experts();
    case CommKind::kForwardP2p:
    case CommKind::kBackwardP2p:
    case CommKind::kEmbedding:
      return replica;
    default:
      return 0;
  }
}

// Those of one class whose group_of() is that of `replica`: every `step`-th from the first on.
ExecPlan::Replicas ExecPlan::group_replicas(CommKind kind, int64_t replica) const {
  constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
  const Position p = position(replica);
  const int64_t tp = tensor_parallel, slice = replica / tp, in_experts = replica % experts();
  const int64_t sharded = expert_shard_group();
  switch (kind) {
    case CommKind::kTensor:
      return {slice * tp, 1, tp};
    case CommKind::kContext:
      return {p.data * context_parallel * tp + p.tensor, tp, context_parallel};
    case CommKind::kData:
      return {p.tensor, tp, kAll};
    case CommKind::kExpertTensor:
      return {replica - p.expert_tensor, 1, expert_tensor_parallel};
    case CommKind::kExpert:
      return {p.expert_data * experts() + p.expert_tensor, expert_tensor_parallel, expert_parallel};
    case CommKind::kExpertData:
      return {in_experts, experts(), kAll};
    case CommKind::kShard:
      return {slice / shard_group * shard_group * tp + p.tensor, tp, shard_group};
    case CommKind::kReplica:
      return {slice % shard_group * tp + p.tensor, shard_group * tp, kAll};
    case CommKind::kExpertShard:
      return {p.expert_data / sharded * sharded * experts() + in_experts, experts(), sharded};
    case CommKind::kExpertReplica:
      return {p.expert_data % sharded * experts() + in_experts, sharded * experts(), kAll};
    case CommKind::kForwardP2p:
    case CommKind::kBackwardP2p:
    case CommKind::kEmbedding:
      return {replica, 1, 1};
    default:
      return {0, 1, kAll};
  }
}

std::vector<int64_t> ExecPlan::members(const Communicator& c, int64_t replica) const {
  std::vector<int64_t> ranks;
  const Replicas group = group_replicas(c.kind, replica);
  for (const RankClass& cls : classes)
    for (const Communicator& other : cls.communicators) {
      if (other.kind != c.kind || other.key != c.key) continue;
      int64_t n = 0;
      for (int64_t r = group.first; n < group.count && r < cls.multiplicity; r += group.step, ++n)
        ranks.push_back(cls.first_rank + r);
    }
  return ranks;
}

}  // namespace orrery
