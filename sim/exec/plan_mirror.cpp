#include "sim/exec/plan_mirror.h"

#include <algorithm>

namespace orrery {
namespace {

// The same pipeline stream of the other lane.
StreamKind other_lane(StreamKind s) {
  constexpr int kLane = 4;  // streams of one lane
  const int i = static_cast<int>(s);
  if (s >= StreamKind::kSendForward && s <= StreamKind::kRecvBackward)
    return static_cast<StreamKind>(i + kLane);
  if (s >= StreamKind::kSendForward1 && s <= StreamKind::kRecvBackward1)
    return static_cast<StreamKind>(i - kLane);
  return s;
}

class MirrorFinder {
 public:
  MirrorFinder(const ExecPlan& plan, const PlanTiming& timing) : plan_(plan), timing_(timing) {}

  std::optional<PlanMirror> find() {
    constexpr uint32_t kNone = UINT32_MAX;
    const auto n = static_cast<uint32_t>(plan_.classes.size());
    mirror_.of_class.assign(n, kNone);
    for (uint32_t c = 0; c < n; ++c) {
      if (mirror_.of_class[c] != kNone) continue;
      uint32_t d = c + 1;
      while (d < n && (mirror_.of_class[d] != kNone || !holds_the_same(c, d))) ++d;
      if (d == n) return std::nullopt;
      mirror_.of_class[c] = d, mirror_.of_class[d] = c;
    }
    mirror_.of_op.resize(plan_.ops.size());
    for (uint32_t c = 0; c < n; ++c)
      if (mirror_.represents(c) && !match(plan_.classes[c], plan_.classes[mirror_.of_class[c]]))
        return std::nullopt;
    return std::move(mirror_);
  }

 private:
  bool holds_the_same(uint32_t a, uint32_t b) const {
    const RankClass &c = plan_.classes[a], &d = plan_.classes[b];
    return c.stage_of_chunk.size() == d.stage_of_chunk.size() &&
           std::is_permutation(c.stage_of_chunk.begin(), c.stage_of_chunk.end(),
                               d.stage_of_chunk.begin());
  }

  bool match(const RankClass& c, const RankClass& d) {
    if (c.multiplicity != d.multiplicity || c.slots_per_chunk != d.slots_per_chunk ||
        c.calls.size() != d.calls.size() || c.host_bytes != d.host_bytes ||
        !std::equal(std::begin(c.static_bytes), std::end(c.static_bytes), d.static_bytes))
      return false;
    chunk_.clear();
    for (const int stage : c.stage_of_chunk)
      chunk_.push_back(
          static_cast<int32_t>(std::find(d.stage_of_chunk.begin(), d.stage_of_chunk.end(), stage) -
                               d.stage_of_chunk.begin()));
    const auto slot = [&](int32_t s) {
      if (s < 0) return s;
      return chunk_[static_cast<std::size_t>(s / c.slots_per_chunk)] * c.slots_per_chunk +
             s % c.slots_per_chunk;
    };
    constexpr uint32_t kUnseen = UINT32_MAX;
    std::vector<uint32_t> block(c.blocks.size(), kUnseen);
    for (std::size_t i = 0; i < c.calls.size(); ++i) {
      const Call &x = c.calls[i], &y = d.calls[i];
      if (slot(x.forward_slot) != y.forward_slot || slot(x.backward_slot) != y.backward_slot)
        return false;
      uint32_t& image = block[x.block];
      if (image == kUnseen) {
        image = y.block;
        if (!match(c, c.blocks[x.block], d, d.blocks[y.block])) return false;
      }
      if (image != y.block) return false;
    }
    return true;
  }

  bool match(const RankClass& c, const Block& a, const RankClass& d, const Block& b) {
    if (a.kind != b.kind || a.events != b.events || !alike(a.forward_stage, b.forward_stage) ||
        !alike(a.backward_stage, b.backward_stage))
      return false;
    return std::equal(
        a.instrs.begin(), a.instrs.end(), b.instrs.begin(), b.instrs.end(),
        [&](const Instr& x, const Instr& y) {
          return x.kind == y.kind && x.role == y.role && other_lane(x.stream) == y.stream &&
                 (x.kind == Instr::Kind::kLaunch ? match_op(c, x.arg, d, y.arg) : x.arg == y.arg);
        });
  }

  // Whether what is allocated there is the same.
  bool alike(int stage, int other) const {
    if (stage == other) return true;
    if (stage < 0 || other < 0) return false;
    const auto& a = plan_.stages[static_cast<std::size_t>(stage)].tensors;
    const auto& b = plan_.stages[static_cast<std::size_t>(other)].tensors;
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Tensor& x, const Tensor& y) {
      return x.bytes == y.bytes && x.kind == y.kind && x.readers == y.readers;
    });
  }

  bool match_op(const RankClass& c, uint32_t x, const RankClass& d, uint32_t y) {
    const PlanOp &a = plan_.ops[x], &b = plan_.ops[y];
    mirror_.of_op[x] = y, mirror_.of_op[y] = x;
    if (timing_.number(x) != timing_.number(y) || (a.communicator < 0) != (b.communicator < 0))
      return false;
    if (a.stage != b.stage || a.graph_op != b.graph_op)
      if (op_class(plan_.graph_op(a)) != op_class(plan_.graph_op(b))) return false;
    if (a.communicator < 0) return true;
    const Communicator& p = c.communicators[static_cast<std::size_t>(a.communicator)];
    const Communicator& q = d.communicators[static_cast<std::size_t>(b.communicator)];
    return p.kind == q.kind && p.size == q.size && pair(p, q) && pair(q, p);
  }
  bool pair(const Communicator& p, const Communicator& q) {
    return mirror_.of_key.try_emplace({p.kind, p.key}, q.key).first->second == q.key;
  }

  const ExecPlan& plan_;
  const PlanTiming& timing_;
  PlanMirror mirror_;
  std::vector<int32_t> chunk_;  // where the image has each chunk of the class
};

}  // namespace

std::optional<PlanMirror> find_mirror(const ExecPlan& plan, const PlanTiming& timing) {
  return MirrorFinder(plan, timing).find();
}

}  // namespace orrery
