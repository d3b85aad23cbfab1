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
using Key = std::tuple<int, uint32_t, uint32_t>;

struct Measured {
  double us = 0;  // of all ranks
  std::set<int64_t> ranks;
  std::string name;
  bool same_name = true;
  bool repeated = false;
};

std::string place_text(const Key& k, const std::string& name) {
  return fmt::format("class {} call {} op {} {}", std::get<0>(k), std::get<1>(k), std::get<2>(k),
                     in_quotes(name));
}

class Comparer {
 public:
  Comparer(const ExecPlan& plan, const RunTrace& trace) : plan_(plan) {
    for (const RunTraceOp& o : trace.ops) add(o);
  }

  RunComparison compare(const StepTrace& simulated) {
    RunComparison c;
    for (const OpRecord& r : simulated.records) join(r, c);
    for (const auto& [key, m] : measured_) c.only_measured.push_back(place_text(key, m.name));
    for (auto& [kind, row] : kinds_) c.kinds.push_back(std::move(row));
    for (auto& [place, op] : ops_) c.ops.push_back(std::move(op));
    std::stable_sort(c.ops.begin(), c.ops.end(), [](const auto& a, const auto& b) {
      return a.row.measured_us > b.row.measured_us;
    });
    std::stable_sort(c.kinds.begin(), c.kinds.end(),
                     [](const auto& a, const auto& b) { return a.measured_us > b.measured_us; });
    c.step.name = "step";
    c.step.predicted_us = micros(simulated.step);
    for (const auto& [rank, span] : spans_)
      c.step.measured_us = std::max(c.step.measured_us, span.second - span.first);
    return c;
  }

 private:
  void add(const RunTraceOp& o) {
    Measured& m = measured_[{o.rank_class, o.call, o.op}];
    m.us += o.end_us - o.start_us;
    m.repeated = m.repeated || !m.ranks.insert(o.rank).second;
    m.same_name = m.same_name && (m.name.empty() || m.name == o.name);
    m.name = o.name;
    ranks_[o.rank_class].insert(o.rank);
    auto [it, fresh] = spans_.try_emplace(o.rank, o.start_us, o.end_us);
    it->second.first = std::min(it->second.first, o.start_us);
    it->second.second = std::max(it->second.second, o.end_us);
  }

  bool whole(int rank_class, const Measured& m, const std::string& name) const {
    return m.same_name && m.name == name && !m.repeated && m.ranks == ranks_.at(rank_class);
  }

  void join(const OpRecord& r, RunComparison& c) {
    const Key key{r.rank_class, r.call, r.op};
    const std::string name = plan_.op_name(r.op);
    const auto it = measured_.find(key);
    if (it == measured_.end() || !whole(r.rank_class, it->second, name)) {
      c.only_simulated.push_back(place_text(key, name));
      return;
    }
    const OpKind kind = plan_.graph_op(plan_.ops[r.op]).kind;
    ComparedRow& row = kinds_[kind];
    row.name = op_kind_name(kind);
    row.predicted_us += micros(r.end - r.start);
    row.measured_us += it->second.us / static_cast<double>(it->second.ranks.size());
    ++row.predicted_count, ++row.measured_count;
    add_to_op(plan_.ops[r.op], name, micros(r.end - r.start),
              it->second.us / static_cast<double>(it->second.ranks.size()));
    ++c.matched;
    measured_.erase(it);
  }

  void add_to_op(const PlanOp& p, const std::string& name, double predicted_us,
                 double measured_us) {
    ComparedOp& o = ops_[{p.stage, p.graph_op}];
    const Op& op = plan_.graph_op(p);
    o.stage = static_cast<int>(p.stage), o.kind = op.kind, o.shape = op.shape;
    o.row.name = name;
    o.row.predicted_us += predicted_us, o.row.measured_us += measured_us;
    ++o.row.predicted_count, ++o.row.measured_count;
  }

  const ExecPlan& plan_;
  std::map<std::pair<uint32_t, uint32_t>, ComparedOp> ops_;  // by stage and op of its graph
  std::map<Key, Measured> measured_;                         // not joined yet
  std::map<int, std::set<int64_t>> ranks_;
  std::map<int64_t, std::pair<double, double>> spans_;  // of each rank
  std::map<OpKind, ComparedRow> kinds_;
};

}  // namespace

RunComparison compare_run(const StudySpec& study, const RunTrace& trace) {
  const CompiledStudy compiled = compile_study(study);
  SimOptions options = sim_options(study);
  options.record = true;
  const StepTrace step = simulate(compiled.plan, compiled.timing, options);
  RunComparison c = Comparer(compiled.plan, trace).compare(step);
  c.experiment = trace.experiment;
  c.device = trace.device;
  return c;
}

}  // namespace orrery
