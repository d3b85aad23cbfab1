// Compute ops in flight as one event.
#include "sim/exec/sim_chains.h"

#include <cmath>
#include <utility>

#include "sim/exec/sim_engine.h"

namespace orrery {
void ComputeChains::fill(unsigned beside) {
  std::vector<int64_t>& s = sums_[beside];
  s.reserve(times_.size() + 1);
  s.push_back(0);
  for (const int64_t* t : times_) s.push_back(s.back() + t[beside]);
}

// The chain from the launch at `instr` on takes off; its finish time is set by the next flush().
void SimEngine::begin_chain(Actor& a, uint32_t launch) {
  a.chain = {launch, alone_ ? launch + 1 : chains(a).end(launch), 0, false, true, now_, now_};
}

// As flush() does for an op: what a new chain takes, or the host holds back its first op.
void SimEngine::start_chain(uint32_t index) {
  Actor& a = actors_[index / kStreams];
  ChainFlight& c = a.chain;
  Flight& f = flights_[index];
  ComputeChains& table = chains(a);
  // Ops that the host has not issued yet are looked at one by one.
  if (c.end - c.at > 1 && options_.host_issue > Picos(0)) {
    const StreamProgram& p = program(a);
    const Stream& s = a.streams[kCompute];
    const int64_t last = p.instrs[table.instr(c.end - 1)].issue;
    if (options_.host_issue * (int64_t{p.issue_base[s.call]} + last + 1) > clock())
      c.end = c.at + 1;
  }
  if (c.end - c.at > 1 && !host_.empty()) c.end = issued_end(a, c.at, c.end);
  c.beside = ports_.beside_compute(a.load);
  const int64_t* sums = table.sums(c.beside);
  f.full = sums[c.at + 1] - sums[c.at];
  c.until = now_ + scaled(index, Picos(f.full)) + host_lag(index);
  c.flying = true;
  f.finish = c.until + Picos(sums[c.end] - sums[c.at + 1]);
  queue_.push(f.finish.count(), {index, ++f.epoch});
}

// Ops of the chain up to `last` have started: what they freed and allocate, and how they count.
void SimEngine::pass_ops(uint32_t actor, uint32_t last) {
  Actor& a = actors_[actor];
  ChainFlight& c = a.chain;
  const StreamProgram& p = program(a);
  const ComputeChains& table = chains(a);
  trace_.events += (last - c.at) * stands_for();
  const uint32_t end = table.instr(last);
  if (accounts(a) && !pass_memory(a, last))
    for (uint32_t i = table.instr(c.at) + 1; i < end; ++i) {
      const StreamInstr& x = p.instrs[i];
      if (x.kind == Instr::Kind::kLaunch)
        a.last_launched = x.arg;
      else if (x.kind == Instr::Kind::kAlloc)
        allocate(actor, kCompute, x);
      else
        release(a, kCompute, x);
    }
  a.last_launched = a.streams[kCompute].last_op = p.instrs[end].arg;
  c.at = last;
}

// Some ops of the chain have ended: makes it what it would be had each been an event.
void SimEngine::pass_ended(uint32_t actor) {
  Actor& a = actors_[actor];
  ChainFlight& c = a.chain;
  const uint32_t index = actor * kStreams + kCompute;
  Flight& f = flights_[index];
  const int64_t* sums = chains(a).sums(c.beside);
  const Picos base = c.until - Picos(sums[c.at + 1]);
  uint32_t at = c.at;
  while (at + 1 < c.end && base + Picos(sums[at + 1]) <= now_) ++at;
  if (at == c.at) return;
  pass_ops(actor, at);
  c.began = base + Picos(sums[at]);
  c.until = base + Picos(sums[at + 1]);
  f.full = sums[at + 1] - sums[at];
  f.op = a.streams[kCompute].last_op;
  // What the wait before the first op was for is to be asked before anything else happens.
  if (std::exchange(c.gap_open, false) && accounts(a)) {
    account(a, f.start, c.began);
    f.start = c.began;
  }
}

// The op that runs keeps the share of its work that is left; those behind it have all of theirs.
void SimEngine::set_chain_rate(uint32_t index) {
  const uint32_t actor = index / kStreams;
  Actor& a = actors_[actor];
  ChainFlight& c = a.chain;
  if (!c.flying) return;
  catch_up(actor);
  const unsigned beside = ports_.beside_compute(a.load);
  if (beside == c.beside) return;
  Flight& f = flights_[index];
  const int64_t* sums = chains(a).sums(beside);
  const int64_t full = sums[c.at + 1] - sums[c.at];
  if (full != f.full) {
    const double left = static_cast<double>((c.until - now_).count());
    c.until =
        now_ + Picos(std::llround(left * static_cast<double>(full) / static_cast<double>(f.full)));
    f.full = full;
  }
  c.beside = beside;
  finish_chain(index, c.until + Picos(sums[c.end] - sums[c.at + 1]));
}

// Ends the chain after the op that runs, since another kernel is to run next.
void SimEngine::cut_chain(uint32_t actor) {
  ChainFlight& c = actors_[actor].chain;
  if (c.flying) catch_up(actor);
  if (c.end - c.at <= 1) return;
  c.end = c.at + 1;
  if (c.flying) finish_chain(actor * kStreams + kCompute, c.until);
}

void SimEngine::finish_chain(uint32_t index, Picos finish) {
  Flight& f = flights_[index];
  if (f.finish == finish) return;
  f.finish = finish;
  queue_.push(finish.count(), {index, ++f.epoch});
}

// The last op of the chain has ended.
void SimEngine::end_chain(uint32_t actor) {
  Actor& a = actors_[actor];
  ChainFlight& c = a.chain;
  if (c.at + 1 < c.end) pass_ops(actor, c.end - 1);
  a.streams[kCompute].pos = chains(a).instr(c.at) + 1;
  c.flying = false;
}

}  // namespace orrery
