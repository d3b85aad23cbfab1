#include "sim/study/skew.h"

#include <algorithm>

#include "sim/exec/sim_backend.h"
#include "sim/schedule/compile_plan.h"
#include "sim/study/predict.h"

namespace orrery {
namespace {

constexpr int kPairs = 4;
constexpr uint64_t kSeed = 1;

// Row-proportional compute of one pair beside its all-to-alls.
double row_seconds(const ExecPlan& plan, const PlanTiming& timing) {
  double s = 0;
  for (std::size_t i = 0; i < plan.ops.size(); ++i)
    if (plan.graph_op(plan.ops[i]).row_proportional) s += seconds(timing[i].duration[kBesideOther]);
  return s;
}

}  // namespace

ExpertLoad expert_load(const StudySpec& study) { return {study.stack.expert_load_cv.value, kSeed}; }

double effective_row_load(const StudySpec& study) {
  const PlanSpec& p = study.plan;
  if (study.model.experts == 0 || p.expert_parallel < 2 || study.stack.expert_load_cv.value <= 0)
    return 1;
  const GraphConfig graph{study.model, p, study.stack, study.cluster.node.gpus};
  const int stage = static_cast<int>(p.pipeline_parallel / 2);
  const ExecPlan plan = compile_pair(graph, stage, stage, kPairs);
  const PlanTiming timing = time_ops(plan, {graph, study.cluster}, 1);
  const double rows = kPairs * row_seconds(plan, timing);
  if (rows <= 0) return 1;
  SimOptions options = sim_options(study);
  options.assume_inputs = true;
  const Picos even = simulate(plan, timing, options).step;
  options.folding = Folding::kUnfolded;
  options.load = expert_load(study);
  const Picos uneven = simulate(plan, timing, options).step;
  return 1 + std::max(0.0, seconds(uneven - even)) / rows;
}

}  // namespace orrery
