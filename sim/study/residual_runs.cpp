#include "sim/study/residual_runs.h"

#include <fmt/format.h>

#include <optional>

namespace orrery {
namespace {

struct OfRun {
  std::optional<RunResidual> time, memory;
  std::string problem;
};

OfRun of_run(const StudySpec& study, const ValidateOptions& options) {
  OfRun out;
  const auto figures = [&](const StudySpec& s, auto take) {
    for (const ValidationResult& r : validate_case(s, s.name, options))
      if (r.problem.empty())
        take(r);
      else
        out.problem = r.name + ": " + r.problem;
  };
  figures(study, [&](const ValidationResult& r) {
    std::optional<RunResidual>& row = r.memory ? out.memory : out.time;
    if (row) return;
    row.emplace();
    row->run = r.name;
    row->stack = r.memory ? memory_residual_stack(study.stack) : residual_stack(study.stack);
    if (!r.memory) row->gpu = study.cluster.node.gpu.name;
    row->ln_ratio = row->ln_unfitted = r.ln_ratio();
  });
  if (!out.time || !stack_is_fitted(study.stack)) return out;
  StudySpec unfitted = study;
  unfitted.stack.step_speed = {};
  bool found = false;
  figures(unfitted, [&](const ValidationResult& r) {
    if (r.memory || found) return;
    found = out.time->stack_fitted = true;
    out.time->ln_unfitted = r.ln_ratio();
  });
  return out;
}

}  // namespace

ResidualRuns residual_runs(const std::string& folder, const std::string& data_root,
                           const ValidateOptions& options) {
  std::vector<StudySpec> studies;
  for (const std::string& file : validation_files(folder)) {
    StudySpec s = load_study(file, {}, data_root);
    if (s.validation->fitted) studies.push_back(std::move(s));
  }
  if (studies.empty())
    throw Error(ExitCode::kNoInput,
                folder + ": no experiment below this folder has a validation that says \"fitted\"");
  std::vector<OfRun> runs(studies.size());
  for_each_case(studies.size(), options,
                [&](std::size_t i) { runs[i] = of_run(studies[i], options); });
  ResidualRuns out;
  const ResidualSpec& before = studies.front().residuals;
  out.residuals.name = before.name;
  out.residuals.date = before.date;
  out.residuals.assumed_rate = before.assumed_rate;
  for (OfRun& r : runs) {
    if (r.time) out.residuals.time.push_back(std::move(*r.time));
    if (r.memory) out.residuals.memory.push_back(std::move(*r.memory));
    if (!r.problem.empty()) out.problems.push_back(r.problem);
  }
  out.residuals.reference = fmt::format(
      "orrery validate --residuals: ln(published / predicted) of the step's time of {} published "
      "runs that are marked fitted, and of the memory of {}",
      out.residuals.time.size(), out.residuals.memory.size());
  return out;
}

}  // namespace orrery
