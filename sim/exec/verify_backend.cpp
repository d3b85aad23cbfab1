#include "sim/exec/verify_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>

#include "sim/base/error.h"
#include "sim/exec/stream_program.h"

namespace orrery {
namespace {

constexpr uint16_t kReached = 1u << 15;

// One rank of each class; streams advance as far as events and rendezvous allow.
class Verifier {
 public:
  explicit Verifier(const ExecPlan& plan) : plan_(plan) {
    index_tensors();
    for (uint32_t c = 0; c < plan.classes.size(); ++c) {
      Rank r;
      r.program = stream_program(plan, c);
      r.events.assign(r.program.events, 0);
      r.tensors.assign((static_cast<std::size_t>(plan.classes[c].slots()) + 1) * stride_, kUnborn);
      for (const Communicator& m : plan.classes[c].communicators) {
        Group& g = groups_[{m.kind, m.key}];
        g.expected = is_p2p(m.kind) ? 2 : g.expected + 1;
        r.groups.push_back(&g);
      }
      ranks_.push_back(std::move(r));
    }
  }

  std::vector<std::string> run() {
    for (uint32_t r = 0; r < ranks_.size(); ++r)
      for (int s = 0; s < kStreams; ++s) advance(r, s);
    report_stuck();
    if (findings_.empty()) report_leaks();
    return std::move(findings_);
  }

 private:
  // Tensor states: unborn, live with the readers left, freed.
  static constexpr uint8_t kUnborn = 0, kFreed = 255;
  static bool held(uint8_t t) { return t != kUnborn && t != kFreed; }
  struct Stream {
    uint32_t next_call = 0, call = 0, pos = 0, end = 0;
    bool done = false, in_group = false;
    // Of the current call, by Role.
    uint16_t* events[3] = {};
    uint8_t* tensors[3] = {};
    const uint8_t* readers[3] = {};
    const StageGraph* graph[3] = {};
  };
  struct Group {
    uint32_t expected = 0;
    struct Member {
      uint32_t rank;
      int stream;
      uint32_t op;
    };
    std::vector<Member> here;
  };
  struct Rank {
    StreamProgram program;
    Stream streams[kStreams];
    std::vector<uint16_t> events;
    std::vector<uint8_t> tensors;
    std::vector<Group*> groups;
  };

  // What the steps need of graphs, close together.
  void index_tensors() {
    for (const StageGraph& g : plan_.stages) {
      stride_ = std::max(stride_, static_cast<uint32_t>(g.tensors.size()));
      std::vector<uint8_t>& readers = readers_.emplace_back();
      for (const Tensor& t : g.tensors) readers.push_back(std::max<uint8_t>(1, t.readers));
    }
    first_operand_.push_back(0);
    for (const PlanOp& p : plan_.ops) {
      const StageGraph& g = plan_.stages[p.stage];
      const Op& op = g.ops[p.graph_op];
      for (const auto& operands : {g.inputs(op), g.outputs(op)})
        operands_.insert(operands_.end(), operands.begin(), operands.end());
      first_operand_.push_back(static_cast<uint32_t>(operands_.size()));
    }
  }

  void find(std::string text) {
    if (findings_.size() < kMaxDiagnostics) findings_.push_back(std::move(text));
  }

  // Kept out of the steps, which hardly ever get here.
  [[gnu::noinline]] void find_tensor(uint32_t rank, const Stream& s, const StreamInstr& i,
                                     const char* what) {
    const StageGraph& g = *s.graph[static_cast<std::size_t>(i.role)];
    find(fmt::format("{}: \"{}\" {}", where(rank), g.tensors[i.arg].name, what));
  }
  [[gnu::noinline]] void find_use(uint32_t rank, uint32_t op, TensorId t, uint8_t state) {
    find(fmt::format("{}: {} uses \"{}\" {}", where(rank), plan_.op_name(op),
                     plan_.stages[plan_.ops[op].stage].tensors[t.v].name,
                     state == kFreed ? "after it is freed" : "before it is written"));
  }

  void advance(uint32_t rank, int stream) {
    Rank& r = ranks_[rank];
    Stream& s = r.streams[stream];
    while (!s.in_group) {
      if (s.pos == s.end) {
        const auto& calls = r.program.calls[stream];
        if (s.next_call == calls.size()) {
          s.done = true;
          return;
        }
        s.call = calls[s.next_call++];
        const auto range =
            r.program
                .ranges[r.program.call[s.call].block * kStreams + static_cast<uint32_t>(stream)];
        s.pos = range.begin, s.end = range.end;
        enter_call(rank, s);
      }
      const StreamInstr& i = r.program.instrs[s.pos];
      if (i.kind == Instr::Kind::kWait) {
        uint16_t& e = s.events[static_cast<std::size_t>(i.role)][i.arg];
        if ((e & kReached) == 0) {
          e = static_cast<uint16_t>(e | (1u << stream));
          return;
        }
      }
      ++s.pos;
      step(rank, stream, i);
    }
  }

  // Looks up once a call what every instruction of it needs.
  void enter_call(uint32_t rank, Stream& s) {
    Rank& r = ranks_[rank];
    const RankClass& c = plan_.classes[rank];
    const Call& call = r.program.call[s.call];
    const Block& block = c.blocks[call.block];
    uint16_t* const events = r.events.data();
    s.events[static_cast<std::size_t>(Role::kBlock)] = events + r.program.event_base[s.call];
    for (const Role role : {Role::kForward, Role::kBackward}) {
      const bool forward = role == Role::kForward;
      const int slot = forward ? call.forward_slot : call.backward_slot;
      const int stage = forward ? block.forward_stage : block.backward_stage;
      const auto row = static_cast<std::size_t>(slot < 0 ? c.slots() : slot);
      const auto at = static_cast<std::size_t>(role);
      s.events[at] = events + r.program.slot_event_base +
                     static_cast<std::size_t>(std::max(slot, 0)) * kSlotEvents;
      s.tensors[at] = r.tensors.data() + row * stride_;
      if (stage < 0) continue;
      s.graph[at] = &plan_.stages[static_cast<std::size_t>(stage)];
      s.readers[at] = readers_[static_cast<std::size_t>(stage)].data();
    }
  }

  void step(uint32_t rank, int stream, const StreamInstr& i) {
    const Stream& s = ranks_[rank].streams[stream];
    const auto role = static_cast<std::size_t>(i.role);
    switch (i.kind) {
      case Instr::Kind::kRecord: {
        uint16_t& e = s.events[role][i.arg];
        uint16_t waiting = static_cast<uint16_t>(e & ~kReached);
        e = kReached;
        for (; waiting != 0; waiting = static_cast<uint16_t>(waiting & (waiting - 1)))
          advance(rank, std::countr_zero(waiting));
        return;
      }
      case Instr::Kind::kAlloc: {
        uint8_t& t = s.tensors[role][i.arg];
        if (held(t)) find_tensor(rank, s, i, "is allocated twice");
        t = s.readers[role][i.arg];
        return;
      }
      case Instr::Kind::kFree: {
        uint8_t& t = s.tensors[role][i.arg];
        if (!held(t))
          find_tensor(rank, s, i, "is freed but not held");
        else if (--t == 0)
          t = kFreed;
        return;
      }
      case Instr::Kind::kLaunch:
        launch(rank, stream, i.arg);
        return;
      case Instr::Kind::kWait:
        return;
    }
  }

  void launch(uint32_t rank, int stream, uint32_t op) {
    const PlanOp& p = plan_.ops[op];
    const uint8_t* tensors = ranks_[rank].streams[stream].tensors[static_cast<std::size_t>(p.role)];
    for (uint32_t k = first_operand_[op]; k < first_operand_[op + 1]; ++k) {
      const TensorId t = operands_[k];
      if (!held(tensors[t.v])) find_use(rank, op, t, tensors[t.v]);
    }
    if (p.communicator < 0) return;
    Group& group = *ranks_[rank].groups[static_cast<std::size_t>(p.communicator)];
    group.here.push_back({rank, stream, op});
    ranks_[rank].streams[stream].in_group = true;
    if (group.here.size() == group.expected) complete(group);
  }

  void complete(Group& group) {
    const auto members = std::move(group.here);
    group.here.clear();
    check_match(members);
    for (const auto& m : members) ranks_[m.rank].streams[m.stream].in_group = false;
    for (const auto& m : members)
      // The first member is still inside its own advance() when it completed the group alone.
      if (&m != &members.back()) advance(m.rank, m.stream);
  }

  // All members run the same collective over the same bytes; a transfer pairs the send and the
  // receive of one micro-batch at the two sides of a stage boundary.
  void check_match(const std::vector<Group::Member>& members) {
    const auto op = [&](const Group::Member& m) -> const Op& {
      return plan_.graph_op(plan_.ops[m.op]);
    };
    const Op& first = op(members.front());
    const bool p2p = first.kind == OpKind::kSend || first.kind == OpKind::kRecv;
    if (p2p && members.size() == 2) check_transfer(members[0], members[1]);
    for (std::size_t i = 1; i < members.size(); ++i) {
      const Op& other = op(members[i]);
      const bool same = p2p ? first.kind != other.kind : first.kind == other.kind;
      if (same && first.work.network == other.work.network) continue;
      find(fmt::format("{} runs {} ({} bytes) where {} runs {} ({} bytes)",
                       where(members.front().rank), plan_.op_name(members.front().op),
                       first.work.network.count(), where(members[i].rank),
                       plan_.op_name(members[i].op), other.work.network.count()));
    }
  }

  void check_transfer(Group::Member from, Group::Member to) {
    if (plan_.graph_op(plan_.ops[from.op]).kind != OpKind::kSend) std::swap(from, to);
    const PlanOp &send = plan_.ops[from.op], &receive = plan_.ops[to.op];
    const int step = send.role == Role::kForward ? 1 : -1;
    const int batch = micro_batch(from, send.role), other = micro_batch(to, receive.role);
    if (send.role == receive.role && send.stage + step == receive.stage && batch == other) return;
    find(
        fmt::format("{} sends micro-batch {} of stage {} where {} receives micro-batch {} of "
                    "stage {}",
                    where(from.rank), batch, send.stage, where(to.rank), other, receive.stage));
  }

  int micro_batch(const Group::Member& m, Role role) const {
    const Rank& r = ranks_[m.rank];
    const Call& c = r.program.call[r.streams[m.stream].call];
    return plan_.classes[m.rank].micro_batch_of_slot(role == Role::kForward ? c.forward_slot
                                                                            : c.backward_slot);
  }

  void report_stuck() {
    for (uint32_t r = 0; r < ranks_.size(); ++r)
      for (int s = 0; s < kStreams; ++s) {
        const Stream& st = ranks_[r].streams[s];
        if (st.done) continue;
        find(fmt::format("deadlock: {} stream \"{}\" waits forever {}", where(r), kStreamNames[s],
                         blocked_at(ranks_[r], st)));
      }
  }

  std::string blocked_at(const Rank& r, const Stream& s) const {
    const uint32_t at = s.in_group ? s.pos - 1 : s.pos;
    if (s.in_group)
      return fmt::format("for the peers of {}", plan_.op_name(r.program.instrs[at].arg));
    for (uint32_t i = at; i < s.end; ++i)
      if (r.program.instrs[i].kind == Instr::Kind::kLaunch)
        return fmt::format("before {}", plan_.op_name(r.program.instrs[i].arg));
    return "for an event";
  }

  void report_leaks() {
    for (uint32_t r = 0; r < ranks_.size(); ++r)
      for (std::size_t i = 0; i < ranks_[r].tensors.size(); ++i) {
        const uint8_t t = ranks_[r].tensors[i];
        if (!held(t)) continue;
        const int slot = static_cast<int>(i / stride_);
        const RankClass& c = plan_.classes[r];
        if (slot >= c.slots()) continue;
        const StageGraph& g = plan_.stages[static_cast<std::size_t>(c.stage_of_slot(slot))];
        find(fmt::format("{}: \"{}\" of micro-batch slot {} is never freed", where(r),
                         g.tensors[i % stride_].name, slot));
      }
  }

  std::string where(uint32_t rank) const { return plan_.classes[rank].name; }

  const ExecPlan& plan_;
  uint32_t stride_ = 0;
  std::vector<std::vector<uint8_t>> readers_;  // of a stage's tensors: streams that free each
  std::vector<uint32_t> first_operand_;        // of each plan op, and the end
  std::vector<TensorId> operands_;             // inputs and outputs
  std::map<std::pair<CommKind, uint32_t>, Group> groups_;
  std::vector<Rank> ranks_;
  std::vector<std::string> findings_;
};

}  // namespace

std::vector<std::string> verify(const ExecPlan& plan) { return Verifier(plan).run(); }

void verify_or_throw(const ExecPlan& plan) {
  const std::vector<std::string> findings = verify(plan);
  if (findings.empty()) return;
  std::string all = "the plan is not sound:";
  for (const std::string& f : findings) all += "\n  " + f;
  throw Infeasible(all);
}

}  // namespace orrery
