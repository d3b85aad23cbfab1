#include "sim/schedule/offload_order.h"

#include <algorithm>

namespace orrery {

OffloadOrder::OffloadOrder(BlockEmitter& e, const ExecPlan& plan, Role role, const StageAt& at)
    : e_(e), graph_(plan.stages[static_cast<std::size_t>(at.stage)]), role_(role), at_(at) {}

void OffloadOrder::after_forward(int unit) {
  if (!has(SegmentKind::kOffloadF, unit)) return;
  e_.hold(StreamKind::kCompute, StreamKind::kDeviceToHost);
  e_.add(role_, at_, SegmentKind::kOffloadF, unit);
}

void OffloadOrder::before_backward(int unit) {
  if (!has(SegmentKind::kReloadB, unit - 1)) return;
  e_.hold(StreamKind::kHostToDevice, StreamKind::kCompute);
  e_.add(role_, at_, SegmentKind::kReloadB, unit - 1);
}

bool reloads_last_unit(const StageGraph& g) {
  return g.find(SegmentKind::kReloadB, g.units - 1) != nullptr;
}

bool reloads_in_backward(const StageGraph& g) {
  return std::any_of(g.segments.begin(), g.segments.end(), [&](const Segment& s) {
    return s.kind == SegmentKind::kReloadB && s.unit + 1 < g.units;
  });
}

}  // namespace orrery
