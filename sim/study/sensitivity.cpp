#include "sim/study/sensitivity.h"

#include <algorithm>
#include <map>

#include "sim/schedule/compile_plan.h"
#include "sim/study/constants.h"

namespace orrery {
namespace {

using json::Node;

struct Outcome {
  std::string name, source;
  std::string problem[2];
  std::vector<ValidationResult> results[2];  // empty: as the base
};

struct CaseOutcome {
  std::vector<ValidationResult> base;
  std::vector<Outcome> constants;
};

bool moves(const std::string& source) {
  return source == "fitted" || source == "measured" || source == "assumed";
}

// Whether the study's step is the base's: the plan's ops last as long and the rest of what the
// simulation reads of the profiles is the same.
bool same_step(const StudySpec& base, const ExecPlan& plan, const PlanTiming& timing,
               const StudySpec& s) {
  const SimOptions a = sim_options(base), b = sim_options(s);
  if (a.reserved != b.reserved || a.host_issue != b.host_issue ||
      base.stack.expert_load_cv.value != s.stack.expert_load_cv.value)
    return false;
  const GraphConfig graph{s.model, s.plan, s.stack, s.cluster.node.gpus};
  const PlanTiming moved = time_ops(plan, {graph, s.cluster}, 1);
  for (std::size_t i = 0; i < timing.size(); ++i)
    if (!(timing[i] == moved[i])) return false;
  return true;
}

CaseOutcome run_case(const std::string& file, const std::string& folder,
                     const std::string& data_root, const SensitivityOptions& options) {
  CaseOutcome out;
  const std::string name = case_name(file, folder);
  Node root = resolve_experiment(file, data_root);
  const StudySpec study = read_experiment(root, file);
  out.base = validate_case(study, name, options.validate);
  const bool predicted = std::any_of(out.base.begin(), out.base.end(),
                                     [](const ValidationResult& r) { return r.problem.empty(); });
  if (!predicted) return out;
  const GraphConfig graph{study.model, study.plan, study.stack, study.cluster.node.gpus};
  const ExecPlan plan = compile_plan(graph);
  const PlanTiming timing = time_ops(plan, {graph, study.cluster}, 1);
  for (const ProfileConstant& c : profile_constants(root, data_root + "/hardware_profiles")) {
    if (!moves(c.source) || c.name.find(options.only) == std::string::npos) continue;
    Outcome o;
    o.name = c.name, o.source = c.source;
    const Node kept = *c.node;
    for (int up = 0; up < 2; ++up) {
      scale(*c.node, up != 0 ? 1 + kMove : 1 - kMove);
      try {
        const StudySpec moved = read_experiment(root, file);
        if (!same_step(study, plan, timing, moved))
          o.results[up] = validate_case(moved, name, options.validate);
      } catch (const Error& e) {
        o.problem[up] = e.what();
      }
      *c.node = kept;
    }
    out.constants.push_back(std::move(o));
  }
  return out;
}

// The base with the moved predictions of one constant in their places.
MovedConstant::Side side_of(const std::vector<CaseOutcome>& cases,
                            const std::vector<const Outcome*>& of_case, int up) {
  MovedConstant::Side side;
  Validation v;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Outcome* o = of_case[i];
    if (o != nullptr && !o->problem[up].empty() && side.problem.empty())
      side.problem = o->problem[up];
    const bool again = o != nullptr && !o->results[up].empty();
    const std::vector<ValidationResult>& results = again ? o->results[up] : cases[i].base;
    for (std::size_t k = 0; k < results.size(); ++k) {
      v.results.push_back(results[k]);
      if (results[k].predicted != cases[i].base[k].predicted) side.changed.push_back(results[k]);
    }
  }
  if (!side.problem.empty()) return {side.problem, {}, {}, {}};
  summarise(v);
  side.time = std::move(v.time), side.memory = std::move(v.memory);
  return side;
}

std::vector<MovedConstant> merge(const std::vector<CaseOutcome>& cases) {
  std::map<std::string, std::vector<const Outcome*>> by_name;
  for (std::size_t i = 0; i < cases.size(); ++i)
    for (const Outcome& o : cases[i].constants) {
      auto& of_case = by_name[o.name];
      of_case.resize(cases.size(), nullptr);
      of_case[i] = &o;
    }
  std::vector<MovedConstant> out;
  for (const auto& [name, of_case] : by_name) {
    MovedConstant m;
    m.name = name;
    for (const Outcome* o : of_case)
      if (o != nullptr) ++m.cases, m.source = o->source;
    for (int up = 0; up < 2; ++up) m.side[up] = side_of(cases, of_case, up);
    out.push_back(std::move(m));
  }
  return out;
}

}  // namespace

Sensitivity sensitivity(const std::string& folder, const std::string& data_root,
                        SensitivityOptions options) {
  options.validate.verified = std::make_shared<VerifiedPlans>();
  const std::vector<std::string> files = validation_files(folder);
  std::vector<CaseOutcome> cases(files.size());
  for_each_case(files.size(), options.validate,
                [&](std::size_t i) { cases[i] = run_case(files[i], folder, data_root, options); });
  Sensitivity s;
  for (const CaseOutcome& c : cases)
    s.base.results.insert(s.base.results.end(), c.base.begin(), c.base.end());
  summarise(s.base);
  s.constants = merge(cases);
  return s;
}

}  // namespace orrery
