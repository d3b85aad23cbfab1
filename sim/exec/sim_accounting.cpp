// Memory and the breakdown of a rank's time, kept while the engine runs.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/base/error.h"
#include "sim/exec/sim_engine.h"

namespace orrery {

void SimEngine::sample_memory(const Actor& a) {
  MemorySample s{now_, a.held, {}};
  std::copy(std::begin(a.by_kind), std::end(a.by_kind), s.by_kind.begin());
  trace_.memory_timeline[a.program].push_back(s);
}

void SimEngine::allocate(uint32_t actor, int stream, const StreamInstr& i) {
  Actor& a = actors_[actor];
  const Stream& s = a.streams[stream];
  const auto role = static_cast<std::size_t>(i.role);
  const HeldTensor& t = s.tensors[role][i.arg];
  if (t.readers > 1) a.reads_left[s.reads[role] + i.arg] = t.readers;
  ClassMemory& m = trace_.memory[a.program];
  if (t.on_host()) {
    a.on_host += Bytes(t.bytes);
    m.host = std::max(m.host, a.on_host);
    return;
  }
  a.held += Bytes(t.bytes);
  a.by_kind[t.kind] += Bytes(t.bytes);
  if (a.held > m.peak) {
    m.peak = a.held;
    std::copy(std::begin(a.by_kind), std::end(a.by_kind), std::begin(m.by_kind));
    m.peak_op = a.last_launched;
  }
  if (options_.record) sample_memory(a);
}

// Passes the ops of the chain up to `last` at once; does nothing and says so when they may reach a
// new peak, which has to be told from op to op.
bool SimEngine::pass_memory(Actor& a, uint32_t last) {
  const uint32_t first = a.chain.at;
  const ChainMemory& m = chain_memory_[a.program];
  if (a.held + Bytes(m.rise(first, last)) > trace_.memory[a.program].peak) return false;
  a.held += Bytes(m.held(first, last));
  for (std::size_t k = 0; k < kBufferKinds; ++k) a.by_kind[k] += Bytes(m.by_kind(first, last, k));
  const Stream& s = a.streams[kCompute];
  m.for_each_shared(first, last, [&](uint32_t instr) {
    const StreamInstr& i = program(a).instrs[instr];
    const auto role = static_cast<std::size_t>(i.role);
    if (i.kind == Instr::Kind::kAlloc)
      a.reads_left[s.reads[role] + i.arg] = s.tensors[role][i.arg].readers;
    else
      release(a, kCompute, i);
  });
  return true;
}

void SimEngine::release(Actor& a, int stream, const StreamInstr& i) {
  const Stream& s = a.streams[stream];
  const auto role = static_cast<std::size_t>(i.role);
  const HeldTensor& t = s.tensors[role][i.arg];
  if (t.readers > 1 && --a.reads_left[s.reads[role] + i.arg] > 0) return;
  if (t.on_host()) {
    a.on_host -= Bytes(t.bytes);
    return;
  }
  a.held -= Bytes(t.bytes);
  a.by_kind[t.kind] -= Bytes(t.bytes);
  if (options_.record) sample_memory(a);
}

// A gap on the compute stream inside a call is exposed communication when an all-to-all ended it.
// Before a call's first op it is the pipeline's bubble up to the start of the call's own
// communication, and exposed from there on; what the CPU held back comes off first; gradient
// collectives of calls before are exposed too, and what is left to wait for copies between GPU and
// host when all else is there.
void SimEngine::account(Actor& a, Picos start, Picos end) {
  ClassTime& time = trace_.time[a.program];
  const Stream& s = a.streams[static_cast<int>(StreamKind::kCompute)];
  const auto kind = static_cast<std::size_t>(s.kind);
  Picos gap = start - a.compute_until;
  const bool first_of_call = a.compute_call != s.call;
  const bool by_comm = a.woken_by == static_cast<int>(StreamKind::kAllToAll) ||
                       a.woken_by == static_cast<int>(StreamKind::kGradient) ||
                       a.woken_by == static_cast<int>(StreamKind::kTensor) ||
                       a.woken_by == static_cast<int>(StreamKind::kHostToDevice) ||
                       a.woken_by == static_cast<int>(StreamKind::kDeviceToHost);
  const bool by_copy = by_comm && a.woken_by >= static_cast<int>(StreamKind::kHostToDevice);
  if (!host_.empty()) {
    const Picos host = std::min(gap, take_host_held(a));
    time.host[kind] += host;
    time.block[kind] += host;
    gap -= host;
  }
  if (gap > Picos(0) && first_of_call && by_copy) {
    const Picos bubble = std::clamp(a.waits_since - a.compute_until, Picos(0), gap);
    time.bubble += bubble;
    gap -= bubble;
  } else if (gap > Picos(0) && first_of_call) {
    const bool own =
        a.woken_by == static_cast<int>(StreamKind::kGradient) || (by_comm && a.comm_call == s.call);
    const Picos bubble = own ? std::clamp(a.comm_since - a.compute_until, Picos(0), gap) : gap;
    time.bubble += bubble;
    gap -= bubble;
  }
  // Waiting for the peers of a gradient collective is the pipeline's imbalance, not the transfer.
  const Picos peers = std::min(gap, std::exchange(a.gradient_wait, Picos(0)));
  time.bubble += peers;
  gap -= peers;
  if (gap > Picos(0) && by_comm) {
    const uint32_t op = a.streams[a.woken_by].last_op;
    const Op& waited = plan_.graph_op(plan_.ops[op]);
    time.exposed[kind][static_cast<std::size_t>(op_class(waited))] += gap;
  }
  time.block[kind] += gap + (end - start);
  a.compute_until = end;
  a.compute_call = s.call;
  a.woken_by = -1;
}

void SimEngine::account_tail(Actor& a) {
  trace_.time[a.program].bubble += now_ - a.compute_until;
  a.compute_until = now_;
}

void SimEngine::report_stuck() const {
  for (const Actor& a : actors_)
    for (int s = 0; s < kStreams; ++s)
      if (!a.streams[s].done)
        throw Infeasible(fmt::format("the plan deadlocks: {} stream \"{}\" never gets past {}",
                                     plan_.classes[a.program].name, kStreamNames[s],
                                     a.streams[s].last_op == UINT32_MAX
                                         ? "its start"
                                         : plan_.op_name(a.streams[s].last_op)));
  throw Infeasible("the plan deadlocks");
}

}  // namespace orrery
