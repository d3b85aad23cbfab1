#include "sim/schedule/block_order.h"

#include <algorithm>

namespace orrery {

void add_forward(BlockEmitter& e, const ExecPlan& plan, int stage, int chunk) {
  const int units = plan.stages[static_cast<std::size_t>(stage)].units;
  for (int u = 0; u < units; ++u)
    for (SegmentKind s : {SegmentKind::kAttnF, SegmentKind::kDispatchF, SegmentKind::kMlpF,
                          SegmentKind::kCombineF, SegmentKind::kHeadF})
      e.add(Role::kForward, stage, chunk, s, u);
  e.add(Role::kForward, stage, chunk, SegmentKind::kSendF, 0);
}

void add_backward(BlockEmitter& e, const ExecPlan& plan, int stage, int chunk, Weights weights) {
  const int units = plan.stages[static_cast<std::size_t>(stage)].units;
  for (int u = units - 1; u >= 0; --u) {
    const auto add = [&](SegmentKind s) { e.add(Role::kBackward, stage, chunk, s, u); };
    const auto add_weight = [&](SegmentKind s) {
      if (weights == Weights::kNow) add(s);
    };
    add(SegmentKind::kHeadB);
    add_weight(SegmentKind::kHeadW);
    add(SegmentKind::kCombineB);
    add(SegmentKind::kMlpB);
    add(SegmentKind::kDispatchB);
    add_weight(SegmentKind::kMlpW);
    add(SegmentKind::kAttnB);
    if (u == 0) e.add(Role::kBackward, stage, chunk, SegmentKind::kSendB, 0);
    add_weight(SegmentKind::kAttnW);
  }
}

void add_weight(BlockEmitter& e, const ExecPlan& plan, int stage, int chunk) {
  const int units = plan.stages[static_cast<std::size_t>(stage)].units;
  for (int u = units - 1; u >= 0; --u)
    for (SegmentKind s : {SegmentKind::kHeadW, SegmentKind::kMlpW, SegmentKind::kAttnW})
      e.add(Role::kBackward, stage, chunk, s, u);
}

void add_pair(BlockEmitter& e, const ExecPlan& plan, int forward_stage, int forward_chunk,
              int backward_stage, int backward_chunk, Transfers transfers) {
  const int forward_units = plan.stages[static_cast<std::size_t>(forward_stage)].units;
  const int backward_units = plan.stages[static_cast<std::size_t>(backward_stage)].units;
  for (int i = 0; i < std::max(forward_units, backward_units); ++i) {
    const int f = i, b = backward_units - 1 - i;
    const auto forward = [&](SegmentKind s) {
      if (f < forward_units) e.add(Role::kForward, forward_stage, forward_chunk, s, f);
    };
    const auto backward = [&](SegmentKind s) {
      if (b >= 0) e.add(Role::kBackward, backward_stage, backward_chunk, s, b);
    };
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
    if (transfers == Transfers::kNone) {
      backward(SegmentKind::kAttnW);
      continue;
    }
    if (b == 0) e.add(Role::kBackward, backward_stage, backward_chunk, SegmentKind::kSendB, 0);
    if (f == forward_units - 1)
      e.add(Role::kForward, forward_stage, forward_chunk, SegmentKind::kSendF, 0);
    backward(SegmentKind::kAttnW);
  }
}

}  // namespace orrery
