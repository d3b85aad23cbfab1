#include "sim/exec/l2_reuse.h"

#include <algorithm>

#include "sim/base/casts.h"

namespace orrery {
namespace {

bool waits_for_memory_alone(AccessPattern p) {
  return p == AccessPattern::kStream || p == AccessPattern::kRowReduce ||
         p == AccessPattern::kStrided;
}

bool in_place(const Op& op) { return op.kind == OpKind::kRope || op.kind == OpKind::kRopeBackward; }

// The bytes of L2 that it passes through: what travels does so once.
double passed(const Op& op) {
  return d((op.work.hbm + op.work.network).count()) / (in_place(op) ? 2 : 1);
}

// The op that touched a tensor last.
struct Touch {
  double moved = 0;  // by it
  double after = 0;  // by all ops up to it; 0: there was none
};

}  // namespace

double part_in_l2(double earlier, double between, double reader, double capacity) {
  const double first = earlier + between, last = between + reader;
  if (std::max(first, last) <= capacity) return 1;
  if (std::min(first, last) >= capacity) return 0;
  return (capacity - std::min(first, last)) / (std::max(first, last) - std::min(first, last));
}

std::vector<double> reads_in_l2(const StageGraph& g, Bytes capacity) {
  std::vector<double> parts(g.ops.size(), 0);
  if (capacity.count() == 0) return parts;
  std::vector<Touch> touched(g.tensors.size());
  double moved = 0;
  for (std::size_t i = 0; i < g.ops.size(); ++i) {
    const Op& op = g.ops[i];
    const double own = passed(op);
    double all = 0, hits = 0;
    for (const TensorId t : g.inputs(op)) {
      const double bytes = d(g.tensors[t.v].bytes.count());
      const Touch& before = touched[t.v];
      all += bytes;
      if (before.after > 0)
        hits += bytes * part_in_l2(before.moved, moved - before.after, own, d(capacity.count()));
    }
    for (const TensorId t : g.outputs(op)) all += d(g.tensors[t.v].bytes.count());
    if (in_place(op)) all *= 2;
    moved += own;
    for (const TensorId t : g.inputs(op)) touched[t.v] = {own, moved};
    for (const TensorId t : g.outputs(op)) touched[t.v] = {own, moved};
    if (all > 0 && waits_for_memory_alone(op.work.pattern)) parts[i] = hits / all;
  }
  return parts;
}

}  // namespace orrery
