#include "sim/study/compare_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "sim/base/text.h"

namespace orrery {
namespace {

// class, call, op
using InstanceKey = std::tuple<int, uint32_t, uint32_t>;

std::string place_text(const InstanceKey& k, const std::string& name) {
  return fmt::format("class {} call {} op {} {}", std::get<0>(k), std::get<1>(k), std::get<2>(k),
                     in_quotes(name));
}

// An op on the ranks of its class.
struct Instance {
  double us = 0;  // of all ranks
  std::set<int64_t> ranks;
  uint32_t oper = 0;
  bool same_operator = true;
  bool repeated = false;
  double mean_us() const { return us / static_cast<double>(ranks.size()); }
};

class Instances {
 public:
  explicit Instances(const Timeline& t) : timeline_(t) {
    for (const RankTimeline& r : t.ranks) {
      ranks_[r.rank_class].insert(r.rank);
      for (const TimelineOp& o : r.ops) add(r, o);
    }
  }

  const Instance* find(const InstanceKey& key) const {
    const auto it = all_.find(key);
    return it == all_.end() ? nullptr : &it->second;
  }
  const std::string& name(const Instance& i) const { return timeline_.operators[i.oper].name; }
  // Once on every rank of the class.
  bool whole(const InstanceKey& key, const Instance& i) const {
    return i.same_operator && !i.repeated && i.ranks == ranks_.at(std::get<0>(key));
  }
  const std::map<InstanceKey, Instance>& all() const { return all_; }

 private:
  void add(const RankTimeline& r, const TimelineOp& o) {
    const auto [it, fresh] = all_.try_emplace({r.rank_class, o.call, o.op});
    Instance& i = it->second;
    if (fresh) i.oper = o.oper;
    i.us += o.end_us - o.start_us;
    i.repeated = !i.ranks.insert(r.rank).second || i.repeated;
    i.same_operator = i.same_operator && i.oper == o.oper;
  }

  const Timeline& timeline_;
  std::map<InstanceKey, Instance> all_;
  std::map<int, std::set<int64_t>> ranks_;
};

class Joiner {
 public:
  Joiner(const Timeline& first, const Timeline& second, RunComparison& c)
      : first_(first), second_(second), predicted_(first), measured_(second), c_(c) {}

  void join() {
    std::set<InstanceKey> joined;
    for (const auto& [key, p] : predicted_.all()) {
      const Instance* m = measured_.find(key);
      const bool same = m != nullptr && predicted_.whole(key, p) && measured_.whole(key, *m) &&
                        predicted_.name(p) == measured_.name(*m);
      if (!same) {
        c_.only_simulated.push_back(place_text(key, predicted_.name(p)));
        continue;
      }
      add(p, *m);
      joined.insert(key);
    }
    for (const auto& [key, m] : measured_.all())
      if (joined.count(key) == 0) c_.only_measured.push_back(place_text(key, measured_.name(m)));
    c_.matched = static_cast<int64_t>(joined.size());
    finish();
  }

 private:
  static void add(ComparedRow& row, const Instance& p, const Instance& m) {
    row.predicted_us += p.mean_us();
    row.measured_us += m.mean_us();
    ++row.predicted_count, ++row.measured_count;
  }

  void add(const Instance& p, const Instance& m) {
    const Operator& first = first_.operators[p.oper];
    const std::string& kind = first.kind.empty() ? second_.operators[m.oper].kind : first.kind;
    if (!kind.empty()) {
      ComparedRow& row = kinds_[kind];
      row.name = kind;
      add(row, p, m);
    }
    ComparedOp& o = ops_[p.oper];
    o.stage = first.stage, o.kind = kind, o.group = first.group, o.shape = first.shape;
    o.row.name = first.name;
    add(o.row, p, m);
  }

  void finish() {
    for (auto& [kind, row] : kinds_) c_.kinds.push_back(std::move(row));
    for (auto& [index, op] : ops_) c_.ops.push_back(std::move(op));
    std::stable_sort(c_.ops.begin(), c_.ops.end(), [](const auto& a, const auto& b) {
      return a.row.measured_us > b.row.measured_us;
    });
    std::stable_sort(c_.kinds.begin(), c_.kinds.end(),
                     [](const auto& a, const auto& b) { return a.measured_us > b.measured_us; });
  }

  const Timeline &first_, &second_;
  const Instances predicted_, measured_;
  RunComparison& c_;
  std::map<std::string, ComparedRow> kinds_;
  std::map<uint32_t, ComparedOp> ops_;  // by operator of the first
};

double longest_window(const Timeline& t) {
  double longest = 0;
  for (const RankTimeline& r : t.ranks) longest = std::max(longest, window(r).length_us());
  return longest;
}

// Takes the ops that communicate out of a timeline: what they are together.
ComparedRow take_communication(Timeline& t) {
  ComparedRow taken{"communication", 0, 0};
  for (RankTimeline& r : t.ranks)
    std::erase_if(r.ops, [&](const TimelineOp& o) {
      if (!t.oper(o).communication) return false;
      taken.predicted_us += o.end_us - o.start_us;
      ++taken.predicted_count;
      return true;
    });
  return taken;
}

double total_us(const Timeline& t) {
  double sum = 0;
  for (const RankTimeline& r : t.ranks)
    for (const TimelineOp& o : r.ops) sum += o.end_us - o.start_us;
  return sum;
}

// A rank with a fake process group: only what it computes can be compared, and only with its class.
void keep_compute_of_rank(RunComparison& c) {
  std::erase_if(c.predicted.ranks, [&](const RankTimeline& p) {
    return std::none_of(c.measured.ranks.begin(), c.measured.ranks.end(),
                        [&](const RankTimeline& m) { return m.rank_class == p.rank_class; });
  });
  c.not_run = take_communication(c.predicted);
  take_communication(c.measured);
  c.step = {"compute", total_us(c.predicted), total_us(c.measured)};
}

// Of a step whose ops are launched one by one, as the runtime launches those that it traces: events
// around an op cannot be part of a graph. An op's time holds the gap to the next in both traces.
Timeline traced_timeline(StudySpec study) {
  GpuSpec& gpu = study.cluster.node.gpu;
  // Among ranks that share a GPU the time of an op is that of turns, which no gap was measured in.
  if (study.cluster.node.ranks_per_gpu == 1) gpu.launch_gap_us = gpu.stream_launch_gap_us;
  const CompiledStudy compiled = compile_study(study);
  SimOptions options = sim_options(study);
  options.record = true;
  const StepTrace step = simulate(compiled.plan, compiled.timing, options);
  return predicted_timeline(compiled.plan, step, options.reserved);
}

void compare(RunComparison& c) {
  Joiner(c.predicted, c.measured, c).join();
  c.sides = put_side_by_side(c.predicted, c.measured, true);
}

std::string ranks_text(const Timeline& t) {
  return t.ranks.size() == 1 ? fmt::format("rank {}", t.ranks[0].rank)
                             : fmt::format("{} ranks, {} to {}", t.ranks.size(),
                                           t.ranks.front().rank, t.ranks.back().rank);
}

std::string ops_text(const std::vector<std::string>& ops) {
  return ops.size() == 1 ? "1 op" : with_commas(static_cast<long long>(ops.size())) + " ops";
}

void require_one_plan(const NamedRun& a, const NamedRun& b, const RunComparison& c) {
  if (c.complete()) return;
  Diagnostics found;
  found.add(b.path, fmt::format("is of another plan or model than {}", a.path));
  if (a.trace.experiment != b.trace.experiment)
    found.add(b.path, fmt::format("is of experiment {}, the other of {}",
                                  in_quotes(b.trace.experiment), in_quotes(a.trace.experiment)));
  if (a.trace.classes != b.trace.classes)
    found.add(b.path,
              fmt::format("has {} pipeline ranks, the other {}", b.trace.classes, a.trace.classes));
  if (ranks_text(c.predicted) != ranks_text(c.measured))
    found.add(b.path, fmt::format("holds {}, the other {}", ranks_text(c.measured),
                                  ranks_text(c.predicted)));
  if (!c.only_simulated.empty())
    found.add(b.path, fmt::format("lacks {} of {}, first {}", ops_text(c.only_simulated), a.path,
                                  c.only_simulated[0]));
  if (!c.only_measured.empty())
    found.add(b.path, fmt::format("has {} that {} lacks, first {}", ops_text(c.only_measured),
                                  a.path, c.only_measured[0]));
  found.throw_if_any();
}

}  // namespace

RunComparison compare_run(const StudySpec& study, const RunTrace& trace) {
  const CompiledStudy compiled = compile_study(study);
  const SimOptions options = sim_options(study);
  const StepTrace step = simulate(compiled.plan, compiled.timing, options);
  RunComparison c;
  c.experiment = trace.experiment;
  c.device = trace.device;
  c.predicted = traced_timeline(study);
  c.measured = run_timeline(trace, &compiled.plan);
  c.step = {"step", micros(step.step), longest_window(c.measured)};
  if (trace.fake_process_group) keep_compute_of_rank(c);
  compare(c);
  return c;
}

void add_metrics(RunComparison& c, const RunMetrics& metrics) {
  if (metrics.step_us && !c.not_run) {
    c.untraced = ComparedRow{"step", c.step.predicted_us, *metrics.step_us};
    c.untraced_steps = metrics.steps;
  }
  for (ComparedMemory& m : c.sides.memory)
    if (m.rank == 0 && m.measured_peak < 0) m.measured_peak = metrics.peak_bytes;
}

RunComparison compare_runs(const NamedRun& a, const NamedRun& b) {
  RunComparison c;
  c.experiment = a.trace.experiment;
  c.device = a.trace.device;
  c.second_experiment = b.trace.experiment;
  c.second_device = b.trace.device;
  c.predicted = run_timeline(a.trace, nullptr);
  c.measured = run_timeline(b.trace, nullptr);
  c.step = {"step", longest_window(c.predicted), longest_window(c.measured)};
  compare(c);
  require_one_plan(a, b, c);
  return c;
}

std::vector<ComparedRow> by_group(const std::vector<ComparedOp>& ops) {
  std::map<std::string, ComparedRow> rows;
  for (const ComparedOp& o : ops) {
    ComparedRow& row = rows[o.group];
    row.name = o.group;
    row.predicted_us += o.row.predicted_us, row.measured_us += o.row.measured_us;
    row.predicted_count += o.row.predicted_count, row.measured_count += o.row.measured_count;
  }
  std::vector<ComparedRow> all;
  for (auto& [name, row] : rows) all.push_back(std::move(row));
  largest_misses_first(all);
  return all;
}

}  // namespace orrery
