#include "sim/study/compare.h"

#include <algorithm>
#include <array>
#include <map>

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

}  // namespace

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
  std::map<Key, std::vector<Item>> predicted, measured;
  std::map<std::pair<SegmentKind, int>, int> order;  // unit -> n-th of its segment
  std::map<SegmentKind, int> next;
  // A measured kernel ends where the next may start; the simulated op includes the launch gap.
  const double gap = study.cluster.node.gpu.launch_gap_us.value;
  for (const OpRecord& r : step.records) {
    const Op& op = plan.graph_op(plan.ops[r.op]);
    const auto [it, fresh] = order.try_emplace({op.segment, op.unit}, next[op.segment]);
    if (fresh) ++next[op.segment];
    const KernelClass cls = op_class(op);
    const double us = std::max(0.0, micros(r.end - r.start) - gap);
    const std::string segment(kSegmentNames[static_cast<std::size_t>(op.segment)]);
    predicted[{segment, it->second, cls}].push_back({op.name, us});
    add(c.segments, segment, true, us);
    add(c.classes, std::string(kKernelClassNames[static_cast<std::size_t>(cls)]), true, us);
    ++c.simulated_ops;
  }
  for (const MeasuredKernel& k : trace.kernels) {
    measured[{k.segment, k.layer, k.cls}].push_back({k.name, k.duration_us});
    add(c.segments, k.segment, false, k.duration_us);
    add(c.classes, std::string(kKernelClassNames[static_cast<std::size_t>(k.cls)]), false,
        k.duration_us);
    ++c.measured_kernels;
  }
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
  return c;
}

}  // namespace orrery
