#include "sim/exec/sim_fast_forward.h"

#include <algorithm>
#include <limits>

#include "sim/exec/sim_engine.h"

namespace orrery {
namespace {

constexpr int32_t kNoSlot = std::numeric_limits<int32_t>::max();

// Adds `times` (now - then) to `now`.
void extrapolate(ClassTime& now, const ClassTime& then, int64_t times) {
  const auto add = [times](Picos& n, Picos t) { n += (n - t) * times; };
  add(now.bubble, then.bubble);
  for (int k = 0; k < kBlockKinds; ++k) {
    add(now.block[k], then.block[k]);
    add(now.host[k], then.host[k]);
    for (int c = 0; c < kKernelClasses; ++c) add(now.exposed[k][c], then.exposed[k][c]);
  }
}

}  // namespace

FastForward::FastForward(const ExecPlan& plan) : regions_(find_regions(plan)) {
  if (regions_.slots > 0) index_slots(plan);
}

void FastForward::index_slots(const ExecPlan& plan) {
  for (const RankClass& c : plan.classes) {
    const std::size_t chunks = c.stage_of_chunk.size(), n = c.calls.size() * chunks;
    std::vector<int32_t> low(n + chunks, kNoSlot), high(n, -1);
    const auto see = [&](int32_t slot, auto use) {
      if (slot < 0) return;
      use(static_cast<std::size_t>(slot / c.slots_per_chunk), slot % c.slots_per_chunk);
    };
    for (std::size_t i = c.calls.size(); i-- > 0;) {
      int32_t* row = &low[i * chunks];
      for (std::size_t k = 0; k < chunks; ++k) row[k] = row[k + chunks];
      for (int32_t slot : {c.calls[i].forward_slot, c.calls[i].backward_slot})
        see(slot, [&](std::size_t k, int32_t batch) { row[k] = std::min(row[k], batch); });
    }
    for (std::size_t i = 0; i < c.calls.size(); ++i) {
      int32_t* row = &high[i * chunks];
      if (i > 0) std::copy(row - chunks, row, row);
      for (int32_t slot : {c.calls[i].forward_slot, c.calls[i].backward_slot})
        see(slot, [&](std::size_t k, int32_t batch) { row[k] = std::max(row[k], batch); });
    }
    lowest_.push_back(std::move(low));
    highest_.push_back(std::move(high));
  }
}

void FastForward::entered(uint32_t call) {
  if (regions_.slots == 0) return;
  const CallRegion* r = regions_.find(0, call, call);
  if (r != region_) {
    region_ = r;
    past_.clear();
  }
  if (r == nullptr || (call - r->begin) % r->period != 0) return;
  period_ = (call - r->begin) / r->period;
  due_ = true;
}

FastForward::Live FastForward::live(const SimEngine& e, std::size_t rank_class, const Window& w,
                                    std::size_t chunk) const {
  const std::size_t chunks = e.plan_.classes[rank_class].stage_of_chunk.size();
  const int32_t begin = lowest_[rank_class][w.first * chunks + chunk];
  const int32_t end = highest_[rank_class][w.last * chunks + chunk] + 1;
  return {begin, begin == kNoSlot ? begin : std::max(begin, end)};
}

// Finds each actor's window; false when an actor is not within one region. Streams that wait in a
// call behind the region (the optimizer) or have ended are not part of it.
bool FastForward::locate(const SimEngine& e) {
  windows_.resize(e.actors_.size());
  for (std::size_t i = 0; i < e.actors_.size(); ++i) {
    const auto& a = e.actors_[i];
    const uint32_t at = a.streams[static_cast<int>(StreamKind::kCompute)].call;
    Window w{regions_.find(a.program, at, at), at, at};
    if (w.region == nullptr) return false;
    for (const auto& s : a.streams) {
      if (s.done || s.call >= w.region->end) continue;
      w.first = std::min(w.first, s.call);
      w.last = std::max(w.last, s.call);
    }
    if (w.first < w.region->begin) return false;
    windows_[i] = w;
  }
  return true;
}

void FastForward::describe_actor(const SimEngine& e, std::size_t actor,
                                 std::vector<int64_t>& out) const {
  const auto& a = e.actors_[actor];
  const Window& w = windows_[actor];
  const StreamProgram& p = e.programs_[a.program];
  const int64_t call_base = period_ * w.region->period;
  const int64_t batch_base = period_ * regions_.slots;
  const auto relative = [&](Picos t) { return (t - e.now_).count(); };
  const auto call = [&](uint32_t c) {
    if (c == UINT32_MAX || c < w.first) return int64_t{-1};  // over: never compared again
    return c >= w.region->end ? int64_t{c} : (int64_t{c} - call_base) | (int64_t{1} << 40);
  };
  const auto event_range = [&](uint32_t c) {
    const uint32_t n = e.plan_.classes[a.program].blocks[p.call[c].block].events;
    for (uint32_t k = 0; k < n; ++k) out.push_back(a.events[p.event_base[c] + k]);
  };

  out.insert(out.end(), {w.region->begin, a.in_flight, a.load, a.queued_stream,
                         a.queued_stream < 0 ? 0 : a.queued_op});
  // Since when the compute stream waits decides how a wait for a copy counts.
  const bool waits = (a.in_flight & (1u << static_cast<int>(StreamKind::kCompute))) == 0 ||
                     a.woken_by >= static_cast<int>(StreamKind::kHostToDevice);
  if (e.accounts(a) && e.trace_.memory[a.program].host > Bytes(0) && waits)
    out.push_back(relative(a.waits_since));
  if (e.accounts(a))
    out.insert(out.end(), {a.woken_by, relative(a.compute_until), call(a.compute_call),
                           call(a.comm_call), call(a.comm_call) < 0 ? 0 : relative(a.comm_since),
                           a.gradient_wait.count(), a.held.count(), a.on_host.count()});
  for (Bytes b : a.by_kind) out.push_back(b.count());
  for (int k = 0; k < kStreams; ++k) {
    const auto& s = a.streams[k];
    out.push_back(s.done ? -2 : call(s.call));
    if (s.done) continue;
    out.insert(out.end(), {s.pos, s.last_op});
    if (s.call >= w.region->end) event_range(s.call);
    if (!e.host_.empty()) out.insert(out.end(), {s.wants_host, s.host_held.count()});
    if (s.wants_host) {
      const auto& f = e.flights_[actor * kStreams + static_cast<std::size_t>(k)];
      const bool known = (a.host.waiting & (1u << k)) == 0;
      out.insert(out.end(), {relative(s.held_since), known ? relative(f.finish) : 0});
    }
    if (s.wants_sms) {
      const auto& f = e.flights_[actor * kStreams + static_cast<std::size_t>(k)];
      out.insert(out.end(), {relative(f.finish), f.op});
    }
    if ((a.in_flight & (1u << k)) == 0) continue;
    // Which member of a collective came last decides nothing.
    const auto& f = e.flights_[a.flight[k]];
    out.insert(out.end(), {relative(f.start), relative(f.finish), f.full, f.rendezvous,
                           f.rendezvous < 0 ? f.op : 0});
    if (e.is_chain(a.flight[k]))
      out.insert(out.end(), {a.chain.at, a.chain.end, relative(a.chain.began),
                             relative(a.chain.until), a.chain.gap_open});
  }
  if (!e.host_.empty()) describe_host(e, actor, out);
  for (uint32_t c = w.first; c <= w.last; ++c) event_range(c);
  const RankClass& cls = e.plan_.classes[a.program];
  for (std::size_t chunk = 0; chunk < cls.stage_of_chunk.size(); ++chunk) {
    const Live slots = live(e, a.program, w, chunk);
    out.insert(out.end(), {slots.begin - batch_base, slots.end - slots.begin});
    for (int32_t b = slots.begin; b < slots.end; ++b) {
      const auto slot = static_cast<uint32_t>(chunk) * static_cast<uint32_t>(cls.slots_per_chunk) +
                        static_cast<uint32_t>(b);
      for (uint32_t k = 0; k < kSlotEvents; ++k)
        out.push_back(a.events[p.slot_event_base + slot * kSlotEvents + k]);
      if (!e.accounts(a)) continue;
      const uint8_t* reads = &a.reads_left[std::size_t{slot} * e.tensor_stride_];
      for (uint32_t t = 0; t < e.tensor_stride_; ++t)
        if (reads[t] != 0) out.push_back((int64_t{t} << 8) | reads[t]);
      out.push_back(-1);
    }
  }
}

// Where the ops in flight are, and the account so far.
FastForward::State FastForward::sketch(const SimEngine& e) {
  State s;
  if (past_.size() == kMaxCycle) {
    s = std::move(past_.front());
    past_.pop_front();
  }
  s.period = period_;
  s.time = e.now_;
  s.events = e.trace_.events;
  s.host_lags = e.host_lags_;
  s.host_lead.clear(), s.host_held.clear();
  for (std::size_t i = 0; i < e.actors_.size() && !e.host_.empty(); ++i) {
    s.host_lead.push_back(host_lead(e, i));
    s.host_held.push_back(e.actors_[i].host.held);
  }
  s.account = e.trace_.time;
  s.sketch.clear();
  s.words.clear();
  for (const auto& a : e.actors_) {
    s.sketch.push_back(a.in_flight);
    for (int k = 0; k < kStreams; ++k)
      if ((a.in_flight & (1u << k)) != 0)
        s.sketch.push_back((e.flights_[a.flight[k]].finish - e.now_).count());
  }
  return s;
}

void FastForward::describe(const SimEngine& e, State& s) const {
  for (std::size_t i = 0; i < e.actors_.size(); ++i) describe_actor(e, i, s.words);
  constexpr int kGradient = static_cast<int>(StreamKind::kGradient);
  std::vector<int64_t> members;
  for (const auto& r : e.rendezvous_) {
    members.clear();
    for (const auto& p : r.here) members.push_back(int64_t{p.actor} * kStreams + p.stream);
    std::sort(members.begin(), members.end());
    s.words.push_back(static_cast<int64_t>(members.size()));
    for (const int64_t m : members) {
      s.words.push_back(m);
      if (m % kStreams == kGradient)
        s.words.push_back(
            (e.actors_[static_cast<std::size_t>(m / kStreams)].streams[kGradient].launched - e.now_)
                .count());
    }
  }
}

// Whether the CPU waits for its GPU in every period of the actor's region.
bool FastForward::reads_back(const SimEngine& e, std::size_t actor) const {
  const CallRegion& r = *windows_[actor].region;
  const HostProgram& host = e.host_[e.actors_[actor].program];
  return host.before(r.begin + r.period).read_backs > host.before(r.begin).read_backs;
}

// Where it does, launches are issued relative to when it last went on.
void FastForward::describe_host(const SimEngine& e, std::size_t actor,
                                std::vector<int64_t>& out) const {
  const auto& a = e.actors_[actor];
  const CallRegion& r = *windows_[actor].region;
  const HostProgram& host = e.host_[a.program];
  const int64_t period =
      host.before(r.begin + r.period).read_backs - host.before(r.begin).read_backs;
  out.insert(out.end(), {a.host.waiting, a.host.read_backs - period_ * period});
  if (reads_back(e, actor)) out.push_back((a.host.since - e.clock()).count());
}

// Where it does not: how long ago it began to issue the calls of the period.
Picos FastForward::host_lead(const SimEngine& e, std::size_t actor) const {
  const auto& a = e.actors_[actor];
  if (e.host_.empty() || reads_back(e, actor)) return {};
  const CallRegion& r = *windows_[actor].region;
  const HostProgram& host = e.host_[a.program];
  const Picos period = host.before(r.begin + r.period).time - host.before(r.begin).time;
  return e.clock() - a.host.since - host.before(r.begin).time - period * period_;
}

// Each host is as far ahead as it was, or held nothing back and gets further ahead with every
// period, and so will hold nothing back.
bool FastForward::hosts_keep_up(const SimEngine& e, const State& now, const State& then) const {
  for (std::size_t i = 0; i < now.host_lead.size(); ++i)
    if (now.host_lead[i] != then.host_lead[i] &&
        (now.host_held[i] != then.host_held[i] || now.host_lead[i] < then.host_lead[i]))
      return false;
  if (e.options_.host_issue <= Picos(0)) return true;
  if (now.host_lags != then.host_lags) return false;
  const int64_t periods = now.period - then.period;
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    const Window& w = windows_[i];
    const std::vector<uint32_t>& issued = e.programs_[e.actors_[i].program].issue_base;
    const uint32_t first = w.region->begin;
    const int64_t kernels = issued[first + w.region->period] - issued[first];
    if (e.options_.host_issue * (kernels * periods) > now.time - then.time) return false;
  }
  return true;
}

// How often `periods` more fit into every actor's region.
int64_t FastForward::cycles_left(const SimEngine& e, int64_t periods) const {
  int64_t left = std::numeric_limits<int64_t>::max();
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    const Window& w = windows_[i];
    left = std::min(left, int64_t{w.region->end - 1 - w.last} / (periods * w.region->period));
  }
  // What the calls after the jump need must be what moved.
  for (; left > 0; --left) {
    const int64_t n = left * periods;
    bool sound = true;
    for (std::size_t i = 0; i < windows_.size() && sound; ++i) {
      const std::size_t cls = e.actors_[i].program;
      Window after = windows_[i];
      after.first += static_cast<uint32_t>(n * after.region->period);
      after.last += static_cast<uint32_t>(n * after.region->period);
      for (std::size_t k = 0; k < e.plan_.classes[cls].stage_of_chunk.size(); ++k) {
        const Live a = live(e, cls, windows_[i], k), b = live(e, cls, after, k);
        const bool none = a.begin == kNoSlot && b.begin == kNoSlot;
        sound = sound && (none || (b.begin == a.begin + n * regions_.slots &&
                                   b.end == a.end + n * regions_.slots));
      }
    }
    if (sound) break;
  }
  return left;
}

void FastForward::compare(SimEngine& e) {
  due_ = false;
  if (!locate(e)) {
    past_.clear();
    return;
  }
  State now = sketch(e);
  for (auto then = past_.rbegin(); then != past_.rend(); ++then) {
    if (then->sketch != now.sketch) continue;
    if (now.words.empty()) describe(e, now);
    if (then->words != now.words || !hosts_keep_up(e, now, *then)) continue;
    const int64_t cycles = cycles_left(e, now.period - then->period);
    if (cycles > 0) jump(e, *then, cycles);
    past_.clear();
    return;
  }
  past_.push_back(std::move(now));
}

void FastForward::jump(SimEngine& e, const State& then, int64_t cycles) {
  const int64_t periods = cycles * (period_ - then.period);
  for (std::size_t c = 0; c < e.trace_.time.size(); ++c)
    extrapolate(e.trace_.time[c], then.account[c], cycles);
  const int64_t events = (e.trace_.events - then.events) * cycles;
  e.trace_.events += events;
  e.trace_.skipped_events += events;
  const Picos time = (e.now_ - then.time) * cycles;
  skipped_ += time;
  for (std::size_t i = 0; i < e.actors_.size(); ++i) move_actor(e, i, periods, time);
}

// Moves what belongs to live calls and slots to where they are `periods` later. From the last on:
// the ranges may overlap.
void FastForward::move_actor(SimEngine& e, std::size_t actor, int64_t periods, Picos time) const {
  auto& a = e.actors_[actor];
  if (!e.host_.empty() && reads_back(e, actor)) {
    const CallRegion& r = *windows_[actor].region;
    const HostProgram& host = e.host_[a.program];
    a.host.read_backs +=
        static_cast<uint32_t>(periods) *
        (host.before(r.begin + r.period).read_backs - host.before(r.begin).read_backs);
    a.host.since += time;
  }
  const Window& w = windows_[actor];
  const StreamProgram& p = e.programs_[a.program];
  const RankClass& cls = e.plan_.classes[a.program];
  const auto calls = static_cast<uint32_t>(periods * w.region->period);
  const auto slots = static_cast<int32_t>(periods * regions_.slots);
  const auto move = [](auto& v, std::size_t from, std::size_t n, std::size_t to) {
    std::copy_backward(v.begin() + static_cast<std::ptrdiff_t>(from),
                       v.begin() + static_cast<std::ptrdiff_t>(from + n),
                       v.begin() + static_cast<std::ptrdiff_t>(to + n));
  };
  for (uint32_t c = w.last + 1; c-- > w.first;)
    move(a.events, p.event_base[c], cls.blocks[p.call[c].block].events, p.event_base[c + calls]);
  for (std::size_t chunk = 0; chunk < cls.stage_of_chunk.size(); ++chunk) {
    const Live range = live(e, a.program, w, chunk);
    if (range.begin >= range.end) continue;
    const std::size_t first = chunk * static_cast<std::size_t>(cls.slots_per_chunk) +
                              static_cast<std::size_t>(range.begin);
    const auto n = static_cast<std::size_t>(range.end - range.begin);
    const std::size_t to = first + static_cast<std::size_t>(slots);
    move(a.events, p.slot_event_base + first * kSlotEvents, n * kSlotEvents,
         p.slot_event_base + to * kSlotEvents);
    if (e.accounts(a))
      move(a.reads_left, first * e.tensor_stride_, n * e.tensor_stride_, to * e.tensor_stride_);
  }
  const auto later = [&](uint32_t& c) {
    if (c != UINT32_MAX && c >= w.first && c < w.region->end) c += calls;
  };
  for (int k = 0; k < kStreams; ++k) {
    auto& s = a.streams[k];
    if (s.done || s.call >= w.region->end) continue;
    s.call += calls;
    const auto& list = p.calls[k];
    s.next_call =
        static_cast<uint32_t>(std::upper_bound(list.begin(), list.end(), s.call) - list.begin());
    e.enter_call(a, s);
  }
  later(a.compute_call);
  later(a.comm_call);
}

}  // namespace orrery
