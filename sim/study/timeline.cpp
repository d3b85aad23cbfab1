#include "sim/study/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

namespace orrery {
namespace {

void sort_by_start(Timeline& t) {
  for (RankTimeline& r : t.ranks)
    std::stable_sort(r.ops.begin(), r.ops.end(),
                     [](const auto& a, const auto& b) { return a.start_us < b.start_us; });
}

// "layer 3 mlp(F) experts" -> "mlp(F) experts".
std::string without_layer(const std::string& name) {
  constexpr std::string_view kLayer = "layer ";
  if (!name.starts_with(kLayer)) return name;
  const std::size_t space = name.find(' ', kLayer.size());
  return space == std::string::npos ? name : name.substr(space + 1);
}

std::vector<TimelineStream> plan_streams() {
  std::vector<TimelineStream> all;
  for (std::string_view name : kStreamNames) all.push_back({std::string(name), std::string(name)});
  return all;
}

// Numbers the operators of a plan as they are met.
class PlanOperators {
 public:
  PlanOperators(const ExecPlan& plan, std::vector<Operator>& out) : plan_(plan), out_(out) {}

  uint32_t index(uint32_t plan_op) {
    const PlanOp& p = plan_.ops[plan_op];
    const auto [it, fresh] =
        known_.try_emplace({p.stage, p.graph_op}, static_cast<uint32_t>(out_.size()));
    if (fresh) {
      const Op& op = plan_.graph_op(p);
      const std::string name = plan_.op_name(plan_op);
      out_.push_back({name, std::string(op_kind_name(op.kind)), without_layer(name),
                      op_resource(op.kind) != Resource::kCompute, p.stage, op.shape});
    }
    return it->second;
  }

 private:
  const ExecPlan& plan_;
  std::vector<Operator>& out_;
  std::map<std::pair<uint16_t, uint32_t>, uint32_t> known_;
};

// What was held when each op began; samples come before the op whose start they share.
void add_held(RankTimeline& r) {
  auto sample = r.memory.begin();
  int64_t bytes = -1;
  for (TimelineOp& o : r.ops) {
    while (sample != r.memory.end() && sample->time_us <= o.start_us) bytes = (sample++)->bytes;
    o.held_bytes = bytes;
  }
}

std::vector<HeldBytes> held_over_time(const std::vector<MemorySample>& samples, Bytes reserved) {
  std::vector<HeldBytes> all;
  for (const MemorySample& s : samples) {
    const HeldBytes now{micros(s.time), (s.total - reserved).count()};
    if (!all.empty() && all.back().time_us == now.time_us)
      all.back() = now;
    else
      all.push_back(now);
  }
  return all;
}

std::vector<HeldBytes> held_at_ops(const std::vector<TimelineOp>& ops) {
  std::vector<HeldBytes> all;
  for (const TimelineOp& o : ops)
    if (o.held_bytes >= 0) all.push_back({o.start_us, o.held_bytes});
  return all;
}

// The fullest moment of a measured rank.
void find_peak(const Timeline& t, RankTimeline& r) {
  const auto peak =
      std::max_element(r.memory.begin(), r.memory.end(),
                       [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  if (peak == r.memory.end()) return;
  r.peak_bytes = peak->bytes;
  for (const TimelineOp& o : r.ops)
    if (o.start_us <= peak->time_us) r.peak_at = t.oper(o).name;
}

bool is_compute_stream(StreamKind s) {
  return s == StreamKind::kCompute || s == StreamKind::kComputeAux;
}

// Of a run: the plan's where it has the op under that name.
class RunOperators {
 public:
  RunOperators(const ExecPlan* plan, std::vector<Operator>& out) : plan_(plan), out_(out) {
    if (plan != nullptr) of_plan_.emplace(*plan, out);
  }

  uint32_t index(const RunTraceOp& o) {
    if (plan_ != nullptr && o.op < plan_->ops.size() && plan_->op_name(o.op) == o.name)
      return of_plan_->index(o.op);
    const auto [it, fresh] =
        others_.try_emplace({o.name, o.stream}, static_cast<uint32_t>(out_.size()));
    if (fresh)
      out_.push_back({o.name, o.kind, without_layer(o.name), !is_compute_stream(o.stream), -1, {}});
    return it->second;
  }

 private:
  const ExecPlan* plan_;
  std::vector<Operator>& out_;
  std::optional<PlanOperators> of_plan_;
  std::map<std::pair<std::string, StreamKind>, uint32_t> others_;
};

}  // namespace

Window window(const RankTimeline& rank) {
  if (rank.ops.empty()) return {};
  Window w{rank.ops.front().start_us, rank.ops.front().end_us};
  for (const TimelineOp& o : rank.ops) w.end_us = std::max(w.end_us, o.end_us);
  return w;
}

Timeline predicted_timeline(const ExecPlan& plan, const StepTrace& step, Bytes reserved) {
  Timeline t;
  t.streams = plan_streams();
  PlanOperators operators(plan, t.operators);
  for (std::size_t c = 0; c < plan.classes.size(); ++c) {
    t.ranks.push_back({plan.classes[c].first_rank, static_cast<int>(c)});
    RankTimeline& r = t.ranks.back();
    if (c < step.memory_timeline.size())
      r.memory = held_over_time(step.memory_timeline[c], reserved);
    const ClassMemory& m = step.memory[c];
    r.peak_bytes = (m.peak - reserved).count();
    if (m.peak_op != UINT32_MAX) r.peak_at = plan.op_name(m.peak_op);
  }
  for (const OpRecord& r : step.records)
    t.ranks[r.rank_class].ops.push_back({micros(r.start), micros(r.end), operators.index(r.op),
                                         static_cast<uint32_t>(r.stream), r.call, r.op});
  sort_by_start(t);
  for (RankTimeline& r : t.ranks) add_held(r);
  return t;
}

Timeline run_timeline(const RunTrace& trace, const ExecPlan* plan) {
  Timeline t;
  t.streams = plan_streams();
  std::map<int64_t, std::size_t> place;
  for (const RunTraceOp& o : trace.ops) place.try_emplace(o.rank, 0);
  for (auto& [rank, at] : place) {
    at = t.ranks.size();
    t.ranks.push_back({rank});
  }
  RunOperators operators(plan, t.operators);
  for (const RunTraceOp& o : trace.ops) {
    RankTimeline& r = t.ranks[place.at(o.rank)];
    r.rank_class = o.rank_class;
    r.ops.push_back({o.start_us, o.end_us, operators.index(o), static_cast<uint32_t>(o.stream),
                     o.call, o.op, o.memory_bytes});
  }
  sort_by_start(t);
  for (RankTimeline& r : t.ranks) {
    r.memory = held_at_ops(r.ops);
    find_peak(t, r);
  }
  return t;
}

Timeline predicted_kernels(const ExecPlan& plan, const StepTrace& step, Bytes reserved,
                           int rank_class, double launch_gap_us) {
  Timeline t = predicted_timeline(plan, step, reserved);
  t.ranks = {std::move(t.ranks[static_cast<std::size_t>(rank_class)])};
  t.ranks[0].rank_class = 0;
  for (std::size_t s = 0; s < t.streams.size(); ++s)
    t.streams[s].track =
        is_compute_stream(static_cast<StreamKind>(s)) ? kComputeTrack : kCommunicationTrack;
  std::vector<bool> named(t.operators.size(), false);
  for (TimelineOp& o : t.ranks[0].ops) {
    if (!t.operators[o.oper].communication)
      o.end_us = std::max(o.start_us, o.end_us - launch_gap_us);
    if (named[o.oper]) continue;
    named[o.oper] = true;
    const KernelFamily family = op_family(plan.graph_op(plan.ops[o.op]));
    t.operators[o.oper].kind = kKernelFamilyNames[static_cast<std::size_t>(family)];
  }
  return t;
}

Timeline kernel_timeline(const MeasuredTrace& trace, int64_t rank) {
  Timeline t;
  t.ranks.push_back({rank});
  std::map<std::string, uint32_t> known;
  std::map<int64_t, uint32_t> streams;
  std::vector<double> balance;  // of each stream: communication less computation
  for (const MeasuredKernel& k : trace.kernels) {
    const auto [oper, fresh] = known.try_emplace(k.name, static_cast<uint32_t>(t.operators.size()));
    const bool communication = is_communication(k.family);
    if (fresh) {
      const std::string name = short_kernel_name(k.name);
      t.operators.push_back({name,
                             std::string(kKernelFamilyNames[static_cast<std::size_t>(k.family)]),
                             name,
                             communication,
                             -1,
                             {}});
    }
    const auto [stream, new_stream] =
        streams.try_emplace(k.stream, static_cast<uint32_t>(t.streams.size()));
    if (new_stream) {
      t.streams.push_back({fmt::format("stream {}", k.stream), std::string(kComputeTrack)});
      balance.push_back(0);
    }
    balance[stream->second] += communication ? k.duration_us : -k.duration_us;
    t.ranks[0].ops.push_back(
        {k.start_us, k.start_us + k.duration_us, oper->second, stream->second, 0, 0});
  }
  for (std::size_t s = 0; s < t.streams.size(); ++s)
    if (balance[s] > 0) t.streams[s].track = kCommunicationTrack;
  for (const MeasuredMemory& m : trace.memory)
    t.ranks[0].memory.push_back({m.time_us, m.allocated_bytes});
  sort_by_start(t);
  find_peak(t, t.ranks[0]);
  return t;
}

}  // namespace orrery
