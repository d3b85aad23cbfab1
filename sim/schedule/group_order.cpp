#include "sim/schedule/group_order.h"

#include <algorithm>

namespace orrery {

GroupOrder::GroupOrder(BlockEmitter& e, const ExecPlan& plan, Role role, const StageAt& at)
    : e_(e),
      graph_(plan.stages[static_cast<std::size_t>(at.stage)]),
      role_(role),
      at_(at),
      gather_(role == Role::kForward ? SegmentKind::kGatherF : SegmentKind::kGatherB),
      unshard_(role == Role::kForward ? SegmentKind::kUnshardF : SegmentKind::kUnshardB),
      step_(role == Role::kForward ? 1 : -1) {
  for (const Op& op : graph_.ops) sharded_ = sharded_ || op.weights.valid();
  accumulated_ = std::none_of(graph_.ops.begin(), graph_.ops.end(),
                              [](const Op& op) { return op.grad.valid(); });
}

void GroupOrder::gather_from(int unit) {
  for (int u = unit; u >= 0 && u < graph_.units; u += step_) {
    if (!has(gather_, u)) continue;
    if (sharded_) e_.hold(StreamKind::kGradient, StreamKind::kCompute);
    add(gather_, u);
    return;
  }
}

void GroupOrder::begin() {
  if (!gathers()) return;
  if (!sharded_) e_.hold(StreamKind::kGradient, StreamKind::kCompute);
  gather_from(role_ == Role::kForward ? 0 : graph_.units - 1);
}

void GroupOrder::before(int unit) {
  if (!gathers() || !has(gather_, unit)) return;
  if (!sharded_) e_.hold(StreamKind::kCompute, StreamKind::kGradient);
  gather_from(unit + step_);
  add(unshard_, unit);
}

void GroupOrder::after_weights(int unit) {
  if (!has(SegmentKind::kReduceB, unit) || (accumulated_ && !at_.last_weights)) return;
  if (accumulated_) {
    e_.hold(StreamKind::kGradient, StreamKind::kCompute);
    if (e_.uses(StreamKind::kComputeAux)) e_.hold(StreamKind::kGradient, StreamKind::kComputeAux);
  } else {
    e_.hold(StreamKind::kCompute, StreamKind::kGradient);
  }
  add(SegmentKind::kReduceB, unit);
}

}  // namespace orrery
