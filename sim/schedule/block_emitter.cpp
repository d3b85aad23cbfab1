#include "sim/schedule/block_emitter.h"

#include <algorithm>

namespace orrery {
namespace {

std::size_t at(StreamKind s) { return static_cast<std::size_t>(s); }

}  // namespace

StreamKind lane_stream(StreamKind s, int lane) {
  if (lane == 0 || s < StreamKind::kSendForward || s > StreamKind::kRecvBackward) return s;
  return static_cast<StreamKind>(static_cast<int>(s) + 4);
}

void BlockEmitter::add(Role role, const StageAt& at, SegmentKind segment, int unit) {
  const StageGraph& g = plan_.stages[static_cast<std::size_t>(at.stage)];
  (role == Role::kForward ? block_.forward_stage : block_.backward_stage) =
      static_cast<int16_t>(at.stage);
  const Segment* s = g.find(segment, unit);
  if (s == nullptr) return;
  for (uint32_t i = s->first_op; i < s->end_op; ++i) {
    const StreamKind stream = lane_stream(g.ops[i].stream, at.lane);
    plan_.ops.push_back(
        {static_cast<uint16_t>(at.stage), role, stream, i, static_cast<int16_t>(at.chunk)});
    items_.push_back({static_cast<uint32_t>(plan_.ops.size() - 1), stream, {}});
  }
}

bool BlockEmitter::uses(StreamKind s) const {
  return std::any_of(items_.begin(), items_.end(),
                     [s](const Item& i) { return i.is_op() && i.stream == s; });
}

BlockEmitter::TensorState& BlockEmitter::state(Role role, TensorId t) {
  auto& v = tensors_[role == Role::kForward ? 0 : 1];
  if (t.v >= v.size()) v.resize(t.v + 1);
  return v[t.v];
}

// First pass: who writes and who reads last on each stream, and which items need an event.
void BlockEmitter::scan() {
  event_of_item_.assign(items_.size(), -1);
  const bool merged = block_.kind != BlockKind::kBackwardInput;
  for (int i = 0; i < static_cast<int>(items_.size()); ++i) {
    if (!items_[static_cast<std::size_t>(i)].is_op()) continue;
    const PlanOp& p = plan_.ops[items_[static_cast<std::size_t>(i)].plan_op];
    const StageGraph& g = plan_.stages[p.stage];
    const Op& o = g.ops[p.graph_op];
    const auto touch = [&](TensorId t) {
      if (!g.tensors[t.v].may_free(o.stream, o.phase, merged)) return;
      std::vector<int>& last = state(p.role, t).last_readers;
      std::erase_if(last,
                    [&](int j) { return items_[static_cast<std::size_t>(j)].stream == p.stream; });
      last.push_back(i);
    };
    g.for_each_read(o, [&](TensorId t) {
      const int w = state(p.role, t).writer;
      items_[static_cast<std::size_t>(i)].writers.push_back(w);
      if (w >= 0 && items_[static_cast<std::size_t>(w)].stream != p.stream)
        event_of_item_[static_cast<std::size_t>(w)] = 0;
      touch(t);
    });
    if (modifies_first_input(o.kind)) state(p.role, g.inputs(o)[0]).writer = i;
    g.for_each_written(o, [&](TensorId t) {
      TensorState& s = state(p.role, t);
      s.writer = i;
      if (s.first_writer < 0) s.first_writer = i;
      if (!g.tensors[t.v].is_read) touch(t);  // freed by its writer
    });
  }
  for (int& e : event_of_item_)
    if (e == 0) e = static_cast<int>(block_.events++);
}

void BlockEmitter::instr(Instr::Kind kind, StreamKind s, Role role, uint32_t arg) {
  block_.instrs.push_back({kind, s, role, 0, arg});
}

void BlockEmitter::wait_slot(StreamKind s, Role role, SlotEvent e) {
  bool& done = slot_waited_[at(s)][static_cast<std::size_t>(role)][static_cast<std::size_t>(e)];
  if (done) return;
  done = true;
  instr(Instr::Kind::kWait, s, role, static_cast<uint32_t>(e));
}

void BlockEmitter::emit_waits(int index, Role role, TensorId input, int w) {
  const Item& item = items_[static_cast<std::size_t>(index)];
  const StageGraph& g = plan_.stages[plan_.ops[item.plan_op].stage];
  if (w >= 0) {
    const StreamKind from = items_[static_cast<std::size_t>(w)].stream;
    int& waited = waited_[at(item.stream)][at(from)];
    if (from == item.stream || waited >= w) return;
    waited = w;
    instr(Instr::Kind::kWait, item.stream, Role::kBlock,
          static_cast<uint32_t>(event_of_item_[static_cast<std::size_t>(w)]));
    return;
  }
  // Written in an earlier call.
  if (input == g.act_in) {
    wait_slot(item.stream, role, SlotEvent::kActIn);
  } else if (input == g.grad_in) {
    wait_slot(item.stream, role, SlotEvent::kGradIn);
  } else if (g.tensors[input.v].kind == BufferKind::kHost) {
    wait_slot(item.stream, role, SlotEvent::kOffloaded);
  } else if (g.tensors[input.v].reloaded) {
    wait_slot(item.stream, role, SlotEvent::kReloaded);
  } else if (item.stream != StreamKind::kCompute) {
    wait_slot(item.stream, role,
              g.tensors[input.v].written == Phase::kForward ? SlotEvent::kForwardDone
                                                            : SlotEvent::kBackwardDone);
  }
}

void BlockEmitter::emit_hold(StreamKind s, StreamKind until) {
  instr(Instr::Kind::kRecord, until, Role::kBlock, block_.events);
  instr(Instr::Kind::kWait, s, Role::kBlock, block_.events++);
}

// The first writer does, unless a separate backward block has written the tensor before.
bool BlockEmitter::allocates(int index, Role role, const StageGraph& g, TensorId t) {
  if (state(role, t).first_writer != index) return false;
  return block_.kind != BlockKind::kWeight || g.tensors[t.v].written == Phase::kWeight;
}

void BlockEmitter::emit_item(int index) {
  const Item& item = items_[static_cast<std::size_t>(index)];
  if (!item.is_op()) return emit_hold(item.waiter, item.stream);
  const PlanOp& p = plan_.ops[item.plan_op];
  const StageGraph& g = plan_.stages[p.stage];
  const Op& o = g.ops[p.graph_op];
  std::size_t read = 0;
  g.for_each_read(o, [&](TensorId t) {
    const int writer = item.writers[read++];
    if (!allocates(index, p.role, g, t)) emit_waits(index, p.role, t, writer);
  });
  g.for_each_written(o, [&](TensorId t) {
    if (allocates(index, p.role, g, t)) instr(Instr::Kind::kAlloc, item.stream, p.role, t.v);
  });
  instr(Instr::Kind::kLaunch, item.stream, p.role, item.plan_op);
  const auto record = [&] {
    if (const int e = event_of_item_[static_cast<std::size_t>(index)]; e >= 0)
      instr(Instr::Kind::kRecord, item.stream, Role::kBlock, static_cast<uint32_t>(e));
  };
  // Who waits for what is copied to the host takes its memory.
  const bool frees_before = o.kind == OpKind::kStoreStates || o.kind == OpKind::kStoreActivations;
  if (!frees_before) record();
  if (o.kind == OpKind::kRecv)
    instr(Instr::Kind::kRecord, item.stream, p.role,
          static_cast<uint32_t>(p.role == Role::kForward ? SlotEvent::kActIn : SlotEvent::kGradIn));
  const auto free_if_last = [&](TensorId t) {
    std::vector<int>& last = state(p.role, t).last_readers;
    const auto it = std::find(last.begin(), last.end(), index);
    if (it == last.end()) return;
    last.erase(it);
    instr(Instr::Kind::kFree, item.stream, p.role, t.v);
  };
  g.for_each_read(o, free_if_last);
  g.for_each_written(o, free_if_last);
  if (frees_before) record();
}

// What later calls may rely on of copies between GPU and host.
void BlockEmitter::emit_copies_done() {
  const auto copies = [&](const Item& i, OpKind kind) { return i.is_op() && op(i).kind == kind; };
  if (std::any_of(items_.begin(), items_.end(),
                  [&](const Item& i) { return copies(i, OpKind::kStoreActivations); }))
    instr(Instr::Kind::kRecord, StreamKind::kDeviceToHost, Role::kForward,
          static_cast<uint32_t>(SlotEvent::kOffloaded));
  if (block_.kind == BlockKind::kReload)
    instr(Instr::Kind::kRecord, StreamKind::kHostToDevice, Role::kBackward,
          static_cast<uint32_t>(SlotEvent::kReloaded));
}

// The compute stream ends the block after the second compute stream and the tensor collectives, and
// marks what later calls may rely on.
void BlockEmitter::emit_tail() {
  for (const StreamKind s : {StreamKind::kComputeAux, StreamKind::kTensor})
    if (uses(s)) emit_hold(StreamKind::kCompute, s);
  // What comes back for the weight gradients alone is there when they start.
  if (block_.kind == BlockKind::kBackwardInput && uses(StreamKind::kHostToDevice))
    emit_hold(StreamKind::kCompute, StreamKind::kHostToDevice);
  if (block_.kind == BlockKind::kForward || block_.kind == BlockKind::kPair)
    instr(Instr::Kind::kRecord, StreamKind::kCompute, Role::kForward,
          static_cast<uint32_t>(SlotEvent::kForwardDone));
  if (block_.kind == BlockKind::kBackward || block_.kind == BlockKind::kBackwardInput ||
      block_.kind == BlockKind::kPair)
    instr(Instr::Kind::kRecord, StreamKind::kCompute, Role::kBackward,
          static_cast<uint32_t>(SlotEvent::kBackwardDone));
}

// A reader may be covered by a later event of the same stream; events that nobody waits for go.
void BlockEmitter::drop_unused_events() {
  std::vector<bool> waited(block_.events, false);
  for (const Instr& i : block_.instrs)
    if (i.kind == Instr::Kind::kWait && i.role == Role::kBlock) waited[i.arg] = true;
  std::erase_if(block_.instrs, [&](const Instr& i) {
    return i.kind == Instr::Kind::kRecord && i.role == Role::kBlock && !waited[i.arg];
  });
}

Block BlockEmitter::finish() {
  scan();
  for (auto& row : waited_) std::fill(std::begin(row), std::end(row), -1);
  for (StreamKind s : gated_) emit_hold(s, StreamKind::kCompute);
  for (int i = 0; i < static_cast<int>(items_.size()); ++i) emit_item(i);
  emit_copies_done();
  if (block_.kind != BlockKind::kRecv && block_.kind != BlockKind::kReload) emit_tail();
  drop_unused_events();
  return std::move(block_);
}

}  // namespace orrery
