// Launches that the CPU of their rank has not issued yet: they reach the GPU, and their peers, when
// it has.
#include "sim/exec/sim_engine.h"

namespace orrery {

HostProgram::Issue SimEngine::issue_of(const Actor& a, const Stream& s, uint32_t instr) const {
  const StreamProgram& p = program(a);
  return host_[a.program].at(s.call, p.call[s.call].block, p.instrs[instr].issue);
}

// Whether the launch that the stream has come to is issued; if not, it is made when it is.
bool SimEngine::issued(uint32_t actor, int stream) {
  Actor& a = actors_[actor];
  Stream& s = a.streams[stream];
  const HostProgram::Issue i = issue_of(a, s, s.pos - 1);
  if (i.read_backs < a.host.read_backs) return true;
  const bool known = i.read_backs == a.host.read_backs;
  if (known && a.host.since + i.time <= clock()) return true;
  s.wants_host = true;
  s.held_since = now_;
  if (known)
    issue_later(actor, stream, a.host.since + i.time);
  else
    a.host.waiting = static_cast<uint16_t>(a.host.waiting | (1u << stream));
  return false;
}

void SimEngine::issue_later(uint32_t actor, int stream, Picos at) {
  const uint32_t index = actor * kStreams + static_cast<uint32_t>(stream);
  Flight& f = flights_[index];
  f.op = program(actors_[actor]).instrs[actors_[actor].streams[stream].pos - 1].arg;
  f.rendezvous = kAlone;
  f.finish = now_ + std::max(Picos(0), at - clock());
  queue_.push(f.finish.count(), {index, ++f.epoch});
}

// The CPU has issued what the stream waits for.
void SimEngine::issue_now(uint32_t actor, int stream) {
  Actor& a = actors_[actor];
  Stream& s = a.streams[stream];
  if (stream != kCompute) catch_up(actor);
  trace_.events -= stands_for();  // no op has ended
  ++a.host.held;
  if ((a.in_flight & (1u << kCompute)) == 0)
    s.host_held += now_ - std::max(s.held_since, a.compute_until);
  launch(actor, stream, flights_[actor * kStreams + static_cast<uint32_t>(stream)].op);
}

// The CPU has what it waited for, and goes on.
void SimEngine::read_back(uint32_t actor, Picos takes) {
  Actor& a = actors_[actor];
  ++a.host.read_backs;
  a.host.since = clock() + takes;
  for (uint16_t left = std::exchange(a.host.waiting, uint16_t{0}); left != 0;
       left = static_cast<uint16_t>(left & (left - 1))) {
    const int stream = std::countr_zero(left);
    const Stream& s = a.streams[stream];
    const HostProgram::Issue i = issue_of(a, s, s.pos - 1);
    if (i.read_backs == a.host.read_backs)
      issue_later(actor, stream, a.host.since + i.time);
    else
      a.host.waiting = static_cast<uint16_t>(a.host.waiting | (1u << stream));
  }
}

// Where a chain from launch `at` on has to stop: before its first op that is not issued by now.
uint32_t SimEngine::issued_end(const Actor& a, uint32_t at, uint32_t end) {
  const ComputeChains& table = chains(a);
  const Stream& s = a.streams[kCompute];
  const auto is_issued = [&](uint32_t launch) {
    const HostProgram::Issue i = issue_of(a, s, table.instr(launch));
    return i.read_backs < a.host.read_backs ||
           (i.read_backs == a.host.read_backs && a.host.since + i.time <= clock());
  };
  if (is_issued(end - 1)) return end;
  uint32_t stop = at + 1;
  while (stop < end && is_issued(stop)) ++stop;
  return stop;
}

// Of a gap before the compute op that starts now, what it and the communication that it waited for
// were held back by the CPU since the compute stream was busy last.
Picos SimEngine::take_host_held(Actor& a) {
  Picos held = a.streams[kCompute].host_held;
  if (a.woken_by >= 0 && a.woken_by != kCompute) held += a.streams[a.woken_by].host_held;
  for (Stream& s : a.streams) s.host_held = Picos(0);
  return held;
}

}  // namespace orrery
