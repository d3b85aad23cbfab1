#include "sim/study/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "sim/schedule/compile_plan.h"
#include "sim/study/skew.h"

namespace orrery {
namespace {

// An op or kernel: segment, layer (n-th of the segment), class.
struct Item {
  std::string name;
  double us;
};
using Key = std::tuple<std::string, int, KernelClass>;
using Items = std::map<Key, std::vector<Item>>;

void add(std::vector<ComparedRow>& rows, const std::string& name, bool predicted, double us) {
  auto it = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.name == name; });
  if (it == rows.end()) {
    rows.emplace_back();
    it = rows.end() - 1;
    it->name = name;
  }
  (predicted ? it->predicted_us : it->measured_us) += us;
  ++(predicted ? it->predicted_count : it->measured_count);
}

std::string class_name(KernelClass c) {
  return std::string(kKernelClassNames[static_cast<std::size_t>(c)]);
}

Items predicted_items(const ExecPlan& plan, const StepTrace& step, double gap, Comparison& c) {
  Items items;
  std::map<std::pair<SegmentKind, int>, int> order;  // unit -> n-th of its segment
  std::map<SegmentKind, int> next;
  for (const OpRecord& r : step.records) {
    const Op& op = plan.graph_op(plan.ops[r.op]);
    const auto [it, fresh] = order.try_emplace({op.segment, op.unit}, next[op.segment]);
    if (fresh) ++next[op.segment];
    const KernelClass cls = op_class(op);
    const double us = std::max(0.0, micros(r.end - r.start) - gap);
    const std::string segment(kSegmentNames[static_cast<std::size_t>(op.segment)]);
    items[{segment, it->second, cls}].push_back({op.name, us});
    add(c.segments, segment, true, us);
    add(c.classes, class_name(cls), true, us);
    ++c.simulated_ops;
  }
  return items;
}

Items measured_items(const MeasuredTrace& trace, Comparison& c) {
  Items items;
  for (const MeasuredKernel& k : trace.kernels) {
    items[{k.segment, k.layer, k.cls}].push_back({k.name, k.duration_us});
    add(c.segments, k.segment, false, k.duration_us);
    add(c.classes, class_name(k.cls), false, k.duration_us);
    ++c.measured_kernels;
  }
  return items;
}

void join(const Items& predicted, const Items& measured, Comparison& c) {
  for (const auto& [key, ops] : predicted) {
    const auto it = measured.find(key);
    if (it == measured.end() || it->second.size() != ops.size()) continue;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      const std::string name = std::get<0>(key) + " " + ops[i].name;
      add(c.ops, name, true, ops[i].us);
      add(c.ops, name, false, it->second[i].us);
      ++c.joined;
    }
  }
}

std::vector<UnknownKernel> unknown_kernels(const MeasuredTrace& trace) {
  std::map<std::string, UnknownKernel> by_name;
  for (const MeasuredKernel& k : trace.kernels) {
    if (k.family != KernelFamily::kUnknown) continue;
    UnknownKernel& u = by_name[k.name];
    u.name = k.name;
    u.us += k.duration_us;
    ++u.count;
  }
  std::vector<UnknownKernel> all;
  for (auto& [name, u] : by_name) all.push_back(std::move(u));
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.us > b.us; });
  return all;
}

void put_timelines(Comparison& c, const MeasuredTrace& trace, int64_t rank) {
  c.measured = kernel_timeline(trace, rank);
  c.sides = put_side_by_side(c.predicted, c.measured, false);
  c.unknown = unknown_kernels(trace);
}

void add_kinds(const Timeline& t, bool predicted, Comparison& c) {
  for (const TimelineOp& o : t.ranks[0].ops) {
    add(c.classes, t.oper(o).kind, predicted, o.end_us - o.start_us);
    ++(predicted ? c.simulated_ops : c.measured_kernels);
  }
}

}  // namespace

bool is_annotated_pair(const MeasuredTrace& trace) {
  return std::any_of(trace.kernels.begin(), trace.kernels.end(), [](const MeasuredKernel& k) {
    return std::find(std::begin(kSegmentNames), std::end(kSegmentNames), k.segment) !=
           std::end(kSegmentNames);
  });
}

Comparison compare_pair(const StudySpec& study, int stage, const MeasuredTrace& trace) {
  const GraphConfig graph{study.model, study.plan, study.stack, study.cluster.node.gpus};
  const ExecPlan plan = compile_pair(graph, stage, stage);
  const PlanTiming timing = time_ops(plan, {graph, study.cluster}, 1);
  SimOptions options = sim_options(study);
  options.record = true;
  options.assume_inputs = true;
  // The measured rank is one of a group whose members draw uneven loads and wait for each other.
  options.folding = Folding::kUnfolded;
  options.load = expert_load(study);
  StepTrace step = simulate(plan, timing, options);
  std::stable_sort(step.records.begin(), step.records.end(),
                   [](const OpRecord& a, const OpRecord& b) { return a.start < b.start; });

  Comparison c;
  c.total.name = "pair";
  c.total.predicted_us = micros(step.step);
  c.total.measured_us = trace.span_us;
  // A measured kernel ends where the next may start; the simulated op includes the launch gap.
  const double gap = study.cluster.node.gpu.launch_gap_us.value;
  const Items predicted = predicted_items(plan, step, gap, c);
  join(predicted, measured_items(trace, c), c);
  c.predicted = predicted_kernels(plan, step, options.reserved, 0, gap);
  put_timelines(c, trace, 0);
  return c;
}

Comparison compare_step(const StudySpec& study, int64_t rank, const MeasuredStep& measured) {
  const CompiledStudy compiled = compile_study(study);
  SimOptions options = sim_options(study);
  options.record = true;
  const StepTrace step = simulate(compiled.plan, compiled.timing, options);
  Comparison c;
  c.total.name = "step";
  c.total.predicted_us = micros(step.step);
  c.total.measured_us = measured.step_us;
  c.predicted = predicted_kernels(compiled.plan, step, options.reserved,
                                  static_cast<int>(compiled.plan.place(rank).rank_class),
                                  study.cluster.node.gpu.launch_gap_us.value);
  put_timelines(c, measured.trace, rank);
  add_kinds(c.predicted, true, c);
  add_kinds(c.measured, false, c);
  return c;
}

}  // namespace orrery
