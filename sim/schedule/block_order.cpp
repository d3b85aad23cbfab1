#include "sim/schedule/block_order.h"

#include <algorithm>

#include "sim/schedule/group_order.h"
#include "sim/schedule/offload_order.h"

namespace orrery {
namespace {

const StageGraph& graph(const ExecPlan& plan, const StageAt& at) {
  return plan.stages[static_cast<std::size_t>(at.stage)];
}

bool is_all_to_all(SegmentKind s) {
  switch (s) {
    case SegmentKind::kDispatchF:
    case SegmentKind::kCombineF:
    case SegmentKind::kDispatchB:
    case SegmentKind::kCombineB:
    case SegmentKind::kDispatchR:
    case SegmentKind::kCombineR:
      return true;
    default:
      return false;
  }
}

void add_segment(BlockEmitter& e, const ExecPlan& plan, Role role, const StageAt& at, SegmentKind s,
                 int unit, AllToAlls how) {
  const Segment* segment = graph(plan, at).find(s, unit);
  if (segment == nullptr || segment->first_op == segment->end_op) return;
  const bool alone = how == AllToAlls::kAlone && is_all_to_all(s);
  if (alone) e.hold(StreamKind::kAllToAll);
  e.add(role, at, s, unit);
  if (alone) e.hold(StreamKind::kCompute, StreamKind::kAllToAll);
}

// The forwards that the backward of the unit needs again, in forward order.
void add_recompute(BlockEmitter& e, const ExecPlan& plan, const StageAt& at, int unit,
                   AllToAlls how) {
  const int from = graph(plan, at).recompute_from[static_cast<std::size_t>(unit)];
  for (int u = from; u >= 0 && u <= unit; ++u)
    for (SegmentKind s :
         {SegmentKind::kAttnR, SegmentKind::kDispatchR, SegmentKind::kMlpR, SegmentKind::kCombineR})
      add_segment(e, plan, Role::kBackward, at, s, u, how);
}

}  // namespace

void add_forward(BlockEmitter& e, const ExecPlan& plan, const StageAt& at, AllToAlls how) {
  GroupOrder groups(e, plan, Role::kForward, at);
  OffloadOrder copies(e, plan, Role::kForward, at);
  groups.begin();
  for (int u = 0; u < graph(plan, at).units; ++u) {
    groups.before(u);
    for (SegmentKind s : {SegmentKind::kAttnF, SegmentKind::kDispatchF, SegmentKind::kMlpF,
                          SegmentKind::kCombineF, SegmentKind::kHeadF})
      add_segment(e, plan, Role::kForward, at, s, u, how);
    copies.after_forward(u);
  }
  e.add(Role::kForward, at, SegmentKind::kSendF, 0);
}

void add_backward(BlockEmitter& e, const ExecPlan& plan, const StageAt& at, Weights weights,
                  AllToAlls how) {
  GroupOrder groups(e, plan, Role::kBackward, at);
  OffloadOrder copies(e, plan, Role::kBackward, at);
  groups.begin();
  for (int u = graph(plan, at).units - 1; u >= 0; --u) {
    const auto add = [&](SegmentKind s) { add_segment(e, plan, Role::kBackward, at, s, u, how); };
    const auto add_weight = [&](SegmentKind s) {
      if (weights == Weights::kLater) return;
      add(s);
      if (graph(plan, at).sums_after_weights) e.hold(StreamKind::kTensor);
    };
    groups.before(u);
    copies.before_backward(u);
    add_recompute(e, plan, at, u, how);
    add(SegmentKind::kHeadB);
    add_weight(SegmentKind::kHeadW);
    add(SegmentKind::kCombineB);
    add(SegmentKind::kMlpB);
    add(SegmentKind::kDispatchB);
    add_weight(SegmentKind::kMlpW);
    add(SegmentKind::kAttnB);
    add_weight(SegmentKind::kAttnW);
    add(SegmentKind::kNormB);
    if (weights == Weights::kNow) groups.after_weights(u);
  }
  // As autograd does: what the backward returns is sent when all of it is done.
  e.hold(lane_stream(StreamKind::kSendBackward, at.lane));
  e.add(Role::kBackward, at, SegmentKind::kSendB, 0);
}

void add_weight(BlockEmitter& e, const ExecPlan& plan, const StageAt& at) {
  GroupOrder groups(e, plan, Role::kBackward, at);
  for (int u = graph(plan, at).units - 1; u >= 0; --u) {
    for (SegmentKind s : {SegmentKind::kHeadW, SegmentKind::kMlpW, SegmentKind::kAttnW})
      e.add(Role::kBackward, at, s, u);
    groups.after_weights(u);
  }
}

void add_pair(BlockEmitter& e, const ExecPlan& plan, const StageAt& forward_at,
              const StageAt& backward_at, Transfers transfers) {
  const int forward_units = graph(plan, forward_at).units;
  const int backward_units = graph(plan, backward_at).units;
  GroupOrder forward_groups(e, plan, Role::kForward, forward_at);
  GroupOrder backward_groups(e, plan, Role::kBackward, backward_at);
  OffloadOrder forward_copies(e, plan, Role::kForward, forward_at);
  OffloadOrder backward_copies(e, plan, Role::kBackward, backward_at);
  forward_groups.begin();
  backward_groups.begin();
  for (int i = 0; i < std::max(forward_units, backward_units); ++i) {
    const int f = i, b = backward_units - 1 - i;
    if (f < forward_units) forward_groups.before(f);
    if (b >= 0) backward_groups.before(b), backward_copies.before_backward(b);
    const auto forward = [&](SegmentKind s) {
      if (f < forward_units) e.add(Role::kForward, forward_at, s, f);
    };
    const auto backward = [&](SegmentKind s) {
      if (b >= 0) e.add(Role::kBackward, backward_at, s, b);
    };
    if (b >= 0) add_recompute(e, plan, backward_at, b, AllToAlls::kBeside);
    backward(SegmentKind::kHeadB);
    backward(SegmentKind::kCombineB);
    forward(SegmentKind::kAttnF);
    backward(SegmentKind::kMlpB);
    forward(SegmentKind::kDispatchF);
    backward(SegmentKind::kDispatchB);
    backward(SegmentKind::kHeadW);
    backward(SegmentKind::kMlpW);
    forward(SegmentKind::kMlpF);
    backward(SegmentKind::kAttnB);
    forward(SegmentKind::kCombineF);
    forward(SegmentKind::kHeadF);
    if (transfers == Transfers::kPipeline) {
      if (b == 0) backward(SegmentKind::kSendB);
      if (f == forward_units - 1) e.add(Role::kForward, forward_at, SegmentKind::kSendF, 0);
    }
    backward(SegmentKind::kAttnW);
    backward(SegmentKind::kNormB);
    if (b >= 0) backward_groups.after_weights(b);
    if (f < forward_units) forward_copies.after_forward(f);
  }
}

}  // namespace orrery
