#include "sim/exec/sim_engine.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <utility>

namespace orrery {
namespace {

constexpr int kComputeAux = static_cast<int>(StreamKind::kComputeAux);
constexpr int kAllToAll = static_cast<int>(StreamKind::kAllToAll);
constexpr int kGradient = static_cast<int>(StreamKind::kGradient);
constexpr int kTensor = static_cast<int>(StreamKind::kTensor);

}  // namespace

SimEngine::SimEngine(const ExecPlan& plan, const PlanTiming& timing, const SimOptions& options)
    : plan_(plan), options_(options) {
  index_ops(timing);
  // Records are of every class, and images draw different noise.
  if (options.mirror && options.folding == Folding::kFolded && !options.record &&
      options.load.cv <= 0 && options.noise.ranks == 0)
    mirror_ = find_mirror(plan, timing);
  make_programs(timing);
  index_tensors();
  make_chains();
  make_actors();
  make_rendezvous();
  flights_.resize(actors_.size() * kStreams);
  trace_.time.resize(plan.classes.size());
  trace_.memory.resize(plan.classes.size());
  trace_.host_wait.resize(plan.classes.size());
  if (options.record) trace_.memory_timeline.resize(plan.classes.size());
  // Records need every event, and loads drawn per call never repeat.
  if (options.fast_forward && !options.record && options.load.cv <= 0 &&
      options.noise.op_jitter <= 0)
    forward_ = std::make_unique<FastForward>(plan);
}

void SimEngine::index_ops(const PlanTiming& timing) {
  for (const OpTiming& t : timing.distinct()) {
    Durations& d = timings_.emplace_back();
    for (int k = 0; k < kBesideStates; ++k) d.beside[k] = t.duration[k].count();
    d.held = t.held.count();
    d.read_back = t.read_back.count();
    sm_waits_ = sm_waits_ || d.held > 0;
  }
  for (const SmHolder h : {SmHolder::kCollective, SmHolder::kP2p}) {
    PortDemand holds;
    holds.resource = Resource::kNetwork;
    holds.holder = h;
    holding_kind_[static_cast<std::size_t>(h)] = ports_.kind(holds);
  }
  constexpr int kUnseen = -1;
  std::vector<int> kinds(timings_.size(), kUnseen);  // numbered in the order of the plan's ops
  // Looked up only where something scales expert rows: the graphs' ops are far apart.
  const bool uneven = options_.load.cv > 0 || options_.noise.ranks > 0;
  ops_.reserve(plan_.ops.size());
  for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
    const uint32_t number = timing.number(i);
    const OpTiming& t = timing[i];
    if (kinds[number] == kUnseen) kinds[number] = ports_.kind(t.demand);
    const bool compute = t.resource == Resource::kCompute;
    OpInfo& o = ops_.emplace_back();
    o.timing = number;
    o.communicator = plan_.ops[i].communicator;
    o.kind = static_cast<uint8_t>(kinds[number]);
    o.compute = compute;
    o.row_proportional = uneven && compute && plan_.graph_op(plan_.ops[i]).row_proportional;
    o.holder = t.demand.holder;
    o.wants_sms = sm_waits_ && (o.holder != SmHolder::kNone || t.resource == Resource::kAllToAll);
  }
}

void SimEngine::make_programs(const PlanTiming& timing) {
  programs_.resize(plan_.classes.size());
  for (uint32_t c = 0; c < plan_.classes.size(); ++c)
    if (simulates(c)) programs_[c] = stream_program(plan_, c);
  const auto issued = [](const OpTiming& t) { return t.host > Picos(0) || t.read_back > Picos(0); };
  if (std::any_of(timing.distinct().begin(), timing.distinct().end(), issued))
    for (const RankClass& c : plan_.classes) host_.emplace_back(c, timing);
  if (options_.folding != Folding::kFolded)
    for (const StreamProgram& p : programs_) quiet_.push_back(without_memory(p));
}

// Records are of single ops, noise is drawn for each, loads for those that they scale.
void SimEngine::make_chains() {
  alone_ = options_.record || options_.noise.ranks > 0;
  const bool loaded = options_.load.cv > 0;
  const auto times = [this, loaded](uint32_t op) {
    const OpInfo& o = ops_[op];
    return ComputeChains::OpTimes{o.compute && o.communicator < 0 &&
                                      !(loaded && o.row_proportional) &&
                                      timings_[o.timing].read_back == 0,
                                  timings_[o.timing].beside};
  };
  for (std::size_t c = 0; c < programs_.size(); ++c) {
    const std::vector<Block>& blocks = plan_.classes[c].blocks;
    chains_.emplace_back(programs_[c], times);
    chain_memory_.emplace_back(
        programs_[c], chains_.back(), [&](std::size_t block, const StreamInstr& i) {
          const Block& b = blocks[block];
          const int stage = i.role == Role::kForward ? b.forward_stage : b.backward_stage;
          return tensors_[static_cast<std::size_t>(stage)][i.arg];
        });
  }
  for (const StreamProgram& p : quiet_) quiet_chains_.emplace_back(p, times);
}

void SimEngine::index_tensors() {
  for (const StageGraph& g : plan_.stages) {
    std::vector<HeldTensor> info;
    for (const Tensor& t : g.tensors)
      info.push_back({t.bytes.count(), static_cast<uint8_t>(t.kind), t.readers});
    tensor_stride_ = std::max(tensor_stride_, static_cast<uint32_t>(info.size()));
    tensors_.push_back(std::move(info));
  }
}

void SimEngine::make_actors() {
  for (uint32_t c = 0; c < plan_.classes.size(); ++c) {
    if (!simulates(c)) continue;
    const RankClass& cls = plan_.classes[c];
    const int64_t ranks = options_.folding == Folding::kFolded    ? 1
                          : options_.folding == Folding::kSampled ? options_.noise.ranks
                                                                  : cls.multiplicity;
    for (int64_t r = 0; r < ranks; ++r) {
      Actor a{};
      a.program = c;
      a.replica = r;
      a.first_of_class = r == 0;
      a.events.assign(programs_[c].events, 0);
      if (options_.assume_inputs)
        std::fill(a.events.begin() + programs_[c].slot_event_base, a.events.end(), kReached);
      // One slot more for the optimizer's tensors.
      if (a.first_of_class)
        a.reads_left.assign((static_cast<std::size_t>(cls.slots()) + 1) * tensor_stride_, 0);
      for (int k = 0; k < kBufferKinds; ++k) a.by_kind[k] = cls.static_bytes[k];
      a.by_kind[static_cast<int>(BufferKind::kWorkspace)] += options_.reserved;
      for (Bytes b : a.by_kind) a.held += b;
      actors_.push_back(std::move(a));
    }
  }
}

// Members of one communicator group share a rendezvous, and so do those of its mirror image: of
// each member either it is simulated or its image is.
void SimEngine::make_rendezvous() {
  std::map<std::tuple<CommKind, uint32_t, int64_t>, int32_t> groups;
  for (const Actor& a : actors_) {
    rendezvous_base_.push_back(static_cast<uint32_t>(rendezvous_of_.size()));
    for (const Communicator& c : plan_.classes[a.program].communicators) {
      // Sampled ranks are all members of one group, except that each has its own pipeline.
      const bool pipeline = c.kind == CommKind::kForwardP2p || c.kind == CommKind::kBackwardP2p ||
                            c.kind == CommKind::kEmbedding;
      const int64_t group = options_.folding == Folding::kUnfolded ? plan_.group_of(c, a.replica)
                            : pipeline                             ? a.replica
                                                                   : 0;
      const uint32_t image = mirror_ ? mirror_->of_key.at({c.kind, c.key}) : c.key;
      const auto [it, fresh] = groups.try_emplace({c.kind, std::min(c.key, image), group},
                                                  static_cast<int32_t>(rendezvous_.size()));
      if (fresh) rendezvous_.push_back({0, image == c.key ? 1u : 2u, {}});
      uint32_t& expected = rendezvous_[static_cast<std::size_t>(it->second)].expected;
      expected = is_p2p(c.kind) ? 2 : expected + 1;
      rendezvous_of_.push_back(it->second);
    }
  }
  // Who is alone has nobody to meet.
  for (int32_t& r : rendezvous_of_) {
    const Rendezvous& group = rendezvous_[static_cast<std::size_t>(r)];
    if (group.expected == 1 && group.stands_for == stands_for()) r = kAlone;
  }
}

// Op instances of all ranks.
int64_t SimEngine::total_ops() const {
  int64_t total = 0;
  for (const Actor& a : actors_) {
    const RankClass& c = plan_.classes[a.program];
    std::vector<int64_t> launches;
    for (const Block& b : c.blocks)
      launches.push_back(std::count_if(b.instrs.begin(), b.instrs.end(), [](const Instr& i) {
        return i.kind == Instr::Kind::kLaunch;
      }));
    for (const Call& call : c.calls) total += launches[call.block];
  }
  return total * stands_for();
}

StepTrace SimEngine::run() {
  constexpr int64_t kEventsPerReport = 1 << 18;
  const int64_t total = options_.progress ? total_ops() : 0;
  for (uint32_t a = 0; a < actors_.size(); ++a)
    for (int s = 0; s < kStreams; ++s) advance(a, s);
  flush();
  while (!queue_.empty()) {
    do {
      const auto e = queue_.pop();
      if (flights_[e.payload.flight].epoch != e.payload.epoch) continue;  // has another time now
      now_ = Picos(e.time);
      const int32_t r = flights_[e.payload.flight].rendezvous;
      trace_.events += r < 0 ? stands_for() : rendezvous_[static_cast<std::size_t>(r)].stands_for;
      land(e.payload.flight);
    } while (queue_.has_event_now());
    flush();
    if (forward_) forward_->at_boundary(*this);
    if (options_.progress && trace_.events >= reported_ + kEventsPerReport) {
      reported_ = trace_.events;
      options_.progress(trace_.events, total);
    }
  }
  for (const Actor& a : actors_)
    for (const Stream& s : a.streams)
      if (!s.done) report_stuck();
  for (Actor& a : actors_)
    if (accounts(a)) account_tail(a);
  trace_.step = clock();
  if (mirror_) copy_to_images();
  return std::move(trace_);
}

void SimEngine::copy_to_images() {
  for (uint32_t c = 0; c < plan_.classes.size(); ++c) {
    if (!simulates(c)) continue;
    const uint32_t image = mirror_->of_class[c];
    trace_.time[image] = trace_.time[c];
    trace_.host_wait[image] = trace_.host_wait[c];
    ClassMemory& m = trace_.memory[image] = trace_.memory[c];
    if (m.peak_op != UINT32_MAX) m.peak_op = mirror_->of_op[m.peak_op];
  }
}

bool SimEngine::next_call(Actor& a, int stream) {
  const StreamProgram& p = program(a);
  Stream& s = a.streams[stream];
  const auto& calls = p.calls[stream];
  if (s.next_call == calls.size()) {
    s.done = true;
    return false;
  }
  s.call = calls[s.next_call++];
  const StreamProgram::Range r =
      p.ranges[p.call[s.call].block * kStreams + static_cast<uint32_t>(stream)];
  s.pos = r.begin;
  s.end = r.end;
  enter_call(a, s);
  if (forward_ && stream == kCompute && &a == actors_.data()) forward_->entered(s.call);
  return true;
}

// Looks up once a call what every instruction of it needs.
void SimEngine::enter_call(const Actor& a, Stream& s) const {
  const StreamProgram& p = programs_[a.program];
  const RankClass& c = plan_.classes[a.program];
  const Call& call = p.call[s.call];
  const Block& block = c.blocks[call.block];
  s.kind = block.kind;
  s.events[0] = p.event_base[s.call];
  for (const Role role : {Role::kForward, Role::kBackward}) {
    const bool forward = role == Role::kForward;
    const int slot = forward ? call.forward_slot : call.backward_slot;
    const int stage = forward ? block.forward_stage : block.backward_stage;
    const auto at = static_cast<std::size_t>(role);
    s.events[at] = p.slot_event_base + static_cast<uint32_t>(std::max(slot, 0)) * kSlotEvents;
    s.reads[at] = static_cast<uint32_t>(slot < 0 ? c.slots() : slot) * tensor_stride_;
    s.tensors[at] = stage < 0 ? nullptr : tensors_[static_cast<std::size_t>(stage)].data();
  }
}

// Runs the stream's instructions up to its next op or unreached event.
void SimEngine::advance(uint32_t actor, int stream) {
  Actor& a = actors_[actor];
  const StreamProgram& p = program(a);
  Stream& s = a.streams[stream];
  if (stream != kCompute) catch_up(actor);
  for (;;) {
    if (s.pos == s.end && !next_call(a, stream)) return;
    const StreamInstr& i = p.instrs[s.pos];
    switch (i.kind) {
      case Instr::Kind::kLaunch:
        ++s.pos;
        s.issued = options_.host_issue * (int64_t{p.issue_base[s.call]} + i.issue + 1);
        if (!host_.empty() && !issued(actor, stream)) return;
        launch(actor, stream, i.arg);
        return;
      case Instr::Kind::kRecord:
        ++s.pos;
        reach(actor, s.events[static_cast<std::size_t>(i.role)] + i.arg, stream);
        break;
      case Instr::Kind::kWait: {
        uint16_t& e = a.events[s.events[static_cast<std::size_t>(i.role)] + i.arg];
        if ((e & kReached) == 0) {
          e = static_cast<uint16_t>(e | (1u << stream));
          if (stream == kCompute) a.waits_since = now_;
          return;
        }
        ++s.pos;
        break;
      }
      case Instr::Kind::kAlloc:
        ++s.pos;
        allocate(actor, stream, i);
        break;
      case Instr::Kind::kFree:
        ++s.pos;
        release(a, stream, i);
        break;
    }
  }
}

void SimEngine::reach(uint32_t actor, uint32_t event, int by) {
  Actor& a = actors_[actor];
  uint16_t waiting = static_cast<uint16_t>(a.events[event] & ~kReached);
  a.events[event] = kReached;
  while (waiting != 0) {
    const int s = std::countr_zero(waiting);
    waiting = static_cast<uint16_t>(waiting & (waiting - 1));
    if (s == kCompute) a.woken_by = by;
    advance(actor, s);
  }
}

void SimEngine::launch(uint32_t actor, int stream, uint32_t op) {
  Actor& a = actors_[actor];
  const int16_t comm = ops_[op].communicator;
  a.last_launched = op;
  a.streams[stream].launched = now_;
  if (stream == kCompute) a.launch = chains(a).at(a.streams[kCompute].pos - 1);
  if (comm < 0 && queue_for_sms(actor, stream, op)) return;
  if (ops_[op].wants_sms) {
    a.streams[stream].wants_sms = true;
    const uint32_t index = actor * kStreams + static_cast<uint32_t>(stream);
    flights_[index].op = op;
    wanting_.push_back(index);
    return;
  }
  meet(actor, stream, op);
}

// The op starts, or waits for the other ranks of its collective.
void SimEngine::meet(uint32_t actor, int stream, uint32_t op) {
  Actor& a = actors_[actor];
  const int16_t comm = ops_[op].communicator;
  const int32_t r =
      comm < 0 ? kAlone : rendezvous_of_[rendezvous_base_[actor] + static_cast<uint32_t>(comm)];
  if (r == kAlone) return take_off(actor, stream, op, kAlone);
  Rendezvous& group = rendezvous_[static_cast<std::size_t>(r)];
  group.here.push_back({actor, static_cast<uint8_t>(stream)});
  // The streams of the others hold their own op; they are told when it lands.
  a.streams[stream].last_op = op;
  if (group.here.size() == group.expected) return take_off(actor, stream, op, r);
  if (ops_[op].holder == SmHolder::kNone) return;
  a.streams[stream].holds_sms = true;
  if (stream != kCompute) catch_up(actor);
  count(actor, holding_kind_[static_cast<std::size_t>(ops_[op].holder)], 1);
}

// A kernel of one compute stream fills the SMs; one of the other stream starts when it ends. (Two
// persistent kernels with one CTA per SM are never resident together.)
bool SimEngine::queue_for_sms(uint32_t actor, int stream, uint32_t op) {
  if (stream != kCompute && stream != kComputeAux) return false;
  Actor& a = actors_[actor];
  const int other = stream == kCompute ? kComputeAux : kCompute;
  if ((a.in_flight & (1u << other)) == 0) return false;
  a.queued_stream = stream;
  a.queued_op = op;
  if (stream == kComputeAux && in_chain(a)) cut_chain(actor);
  return true;
}

void SimEngine::take_off(uint32_t actor, int stream, uint32_t op, int32_t rendezvous) {
  const uint32_t index = actor * kStreams + static_cast<uint32_t>(stream);
  Flight& f = flights_[index];
  f.start = now_;
  f.op = op;
  f.rendezvous = rendezvous;
  if (rendezvous < 0) {
    join(actor, stream, op, index);
    if (Actor& a = actors_[actor]; stream == kCompute && in_chain(a)) begin_chain(a, a.launch);
  } else {
    for (const Participant& p : rendezvous_[static_cast<std::size_t>(rendezvous)].here)
      join(p.actor, p.stream, actors_[p.actor].streams[p.stream].last_op, index);
  }
  started_.push_back(index);
}

inline void SimEngine::join(uint32_t actor, int stream, uint32_t op, uint32_t flight) {
  Actor& a = actors_[actor];
  if (stream != kCompute) catch_up(actor);
  Stream& s = a.streams[stream];
  if (std::exchange(s.holds_sms, false))
    count(actor, holding_kind_[static_cast<std::size_t>(ops_[op].holder)], -1);
  s.last_op = op;
  a.in_flight = static_cast<uint16_t>(a.in_flight | (1u << stream));
  a.flight[stream] = flight;
  if (stream == kGradient) a.gradient_wait += now_ - s.launched;
  if ((stream == kAllToAll || stream == kGradient || stream == kTensor) && a.comm_call != s.call)
    a.comm_call = s.call, a.comm_since = now_;
  count(actor, ops_[op].kind, 1);
}

inline void SimEngine::count(uint32_t actor, uint8_t kind, int delta) {
  Actor& a = actors_[actor];
  a.load = delta > 0 ? ports_.with(a.load, kind) : ports_.without(a.load, kind);
  if (!a.dirty) a.dirty = true, dirty_.push_back(actor);
}

// How long an op takes in all with what now runs beside it; a collective as on its slowest member.
int64_t SimEngine::full_time(uint32_t flight) const {
  const Flight& f = flights_[flight];
  const auto& alone = timings_[ops_[f.op].timing].beside;
  if (ops_[f.op].compute) return alone[ports_.beside_compute(actors_[flight / kStreams].load)];
  double slowest = 1;
  const auto look = [&](uint32_t actor, uint32_t op) {
    slowest = std::max(slowest, ports_.slowdown(actors_[actor].load, ops_[op].kind));
  };
  if (f.rendezvous < 0) {
    look(flight / kStreams, f.op);
  } else {
    for (const Participant& p : rendezvous_[static_cast<std::size_t>(f.rendezvous)].here)
      look(p.actor, actors_[p.actor].streams[p.stream].last_op);
  }
  return slowest > 1 ? std::llround(static_cast<double>(alone[0]) * slowest) : alone[0];
}

// How much longer an op that could start now waits for the hosts of its ranks to issue it.
Picos SimEngine::host_lag(uint32_t index) {
  if (options_.host_issue <= Picos(0)) return {};
  const Picos now = clock();
  Picos issued;
  const auto look_at = [&](uint32_t actor, int stream) {
    const Actor& a = actors_[actor];
    const Picos at = a.streams[stream].issued;
    issued = std::max(issued, at);
    if (stream == kCompute && accounts(a))
      trace_.host_wait[a.program] += std::max(Picos(0), at - now);
  };
  const int32_t r = flights_[index].rendezvous;
  if (r < 0)
    look_at(index / kStreams, static_cast<int>(index % kStreams));
  else
    for (const Participant& p : rendezvous_[static_cast<std::size_t>(r)].here)
      look_at(p.actor, p.stream);
  const Picos lag = std::max(Picos(0), issued - now);
  if (lag > Picos(0)) ++host_lags_;
  return lag;
}

// What makes ranks unequal stretches the work of one rank, and the collectives that it is in.
Picos SimEngine::scaled(uint32_t index, Picos duration) const {
  if (options_.noise.ranks == 0 && options_.load.cv <= 0) return duration;
  const Flight& f = flights_[index];
  const PlanOp& p = plan_.ops[f.op];
  const Op& op = plan_.graph_op(p);
  const Actor& a = actors_[index / kStreams];
  const uint32_t call = a.streams[index % kStreams].call;
  double factor = 1;
  if (options_.load.cv > 0 && ops_[f.op].row_proportional)
    factor = options_.load.factor(a.replica, op.layer, call, p.role);
  if (const SimNoise& n = options_.noise; n.ranks > 0) {
    if (op_resource(op.kind) == Resource::kCompute) {
      factor *= n.compute_factor(a.program, a.replica) * n.jitter(a.program, a.replica, call, f.op);
      if (ops_[f.op].row_proportional) factor *= n.rows_factor(op.layer, a.replica);
    } else if (f.rendezvous < 0) {
      factor *= n.network_factor(a.program, a.replica);
    } else {
      double slowest = 1;
      for (const Participant& m : rendezvous_[static_cast<std::size_t>(f.rendezvous)].here)
        slowest =
            std::max(slowest, n.network_factor(actors_[m.actor].program, actors_[m.actor].replica));
      factor *= slowest;
    }
  }
  return factor == 1 ? duration
                     : Picos(std::llround(static_cast<double>(duration.count()) * factor));
}

// Looks at what changed during this time stamp: new ops get a finish time, running ones whose
// surroundings changed keep the share of their work that is left.
void SimEngine::flush() {
  start_flights();
  if (!wanting_.empty()) {
    admit_waiting();
    start_flights();
  }
  for (uint32_t actor : dirty_) {
    Actor& a = actors_[actor];
    a.dirty = false;
    const PortStates::State before = std::exchange(a.settled, a.load);
    if (before == a.load) continue;
    for (uint16_t left = a.in_flight; left != 0; left = static_cast<uint16_t>(left & (left - 1))) {
      const int s = std::countr_zero(left);
      if (speed_changed(a, s, before)) set_rate(a.flight[s]);
    }
  }
  dirty_.clear();
}

void SimEngine::start_flights() {
  for (uint32_t index : started_) {
    if (is_chain(index)) {
      start_chain(index);
      continue;
    }
    Flight& f = flights_[index];
    f.full = full_time(index);
    f.finish = now_ + scaled(index, Picos(f.full)) + host_lag(index);
    queue_.push(f.finish.count(), {index, ++f.epoch});
  }
  started_.clear();
}

// Whether the op of a stream has another speed on its GPU than in state `before`.
bool SimEngine::speed_changed(const Actor& a, int stream, PortStates::State before) const {
  const OpInfo& op = ops_[a.streams[stream].last_op];
  return op.compute ? ports_.beside_compute(before) != ports_.beside_compute(a.load)
                    : ports_.slowdown(before, op.kind) != ports_.slowdown(a.load, op.kind);
}

void SimEngine::set_rate(uint32_t index) {
  if (is_chain(index)) return set_chain_rate(index);
  Flight& f = flights_[index];
  const int64_t full = full_time(index);
  if (full == f.full) return;
  const double left = static_cast<double>((f.finish - now_).count());
  f.finish =
      now_ + Picos(std::llround(left * static_cast<double>(full) / static_cast<double>(f.full)));
  f.full = full;
  queue_.push(f.finish.count(), {index, ++f.epoch});
}

void SimEngine::land(uint32_t flight) {
  const Flight f = flights_[flight];
  ++flights_[flight].epoch;
  const auto stream_of_flight = static_cast<int>(flight % kStreams);
  if (std::exchange(actors_[flight / kStreams].streams[stream_of_flight].wants_host, false))
    return issue_now(flight / kStreams, stream_of_flight);
  if (std::exchange(actors_[flight / kStreams].streams[stream_of_flight].wants_sms, false))
    return meet(flight / kStreams, stream_of_flight, f.op);
  if (f.rendezvous < 0) {
    land_on(flight / kStreams, static_cast<int>(flight % kStreams), f);
    return;
  }
  std::vector<Participant> here;
  here.swap(rendezvous_[static_cast<std::size_t>(f.rendezvous)].here);
  for (const Participant& p : here) land_on(p.actor, p.stream, f);
  // Give the storage back when nobody has arrived for the next op yet.
  auto& next = rendezvous_[static_cast<std::size_t>(f.rendezvous)].here;
  if (next.empty()) here.clear(), next.swap(here);
}

void SimEngine::land_on(uint32_t actor, int stream, const Flight& f) {
  Actor& a = actors_[actor];
  Stream& s = a.streams[stream];
  if (stream == kCompute) {
    if (in_chain(a)) end_chain(actor);
  } else {
    catch_up(actor);
  }
  a.in_flight = static_cast<uint16_t>(a.in_flight & ~(1u << stream));
  count(actor, ops_[s.last_op].kind, -1);
  if (accounts(a)) {
    if (stream == kCompute) account(a, f.start, now_);
    if (options_.record)
      trace_.records.push_back({f.rendezvous < 0 ? f.start : s.launched, now_, s.last_op, s.call,
                                static_cast<uint16_t>(a.program), static_cast<StreamKind>(stream)});
  }
  if (const int64_t t = timings_[ops_[s.last_op].timing].read_back; t > 0)
    read_back(actor, Picos(t));
  if (a.queued_stream >= 0 && (stream == kCompute || stream == kComputeAux))
    take_off(actor, std::exchange(a.queued_stream, -1), a.queued_op, kAlone);
  advance(actor, stream);
}

double ExpertLoad::factor(int64_t replica, int layer, uint32_t call, Role role) const {
  uint64_t x = seed ^ (static_cast<uint64_t>(replica) << 32) ^
               (static_cast<uint64_t>(static_cast<uint32_t>(layer)) << 16) ^
               (static_cast<uint64_t>(call) << 4) ^ static_cast<uint64_t>(role);
  return std::max(0.0, 1 + cv * normal_from(x));
}

StepTrace simulate(const ExecPlan& plan, const PlanTiming& timing, const SimOptions& options) {
  return SimEngine(plan, timing, options).run();
}

}  // namespace orrery
