#include "sim/report/compare.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "sim/cli/verbs.h"
#include "sim/report/compare_run.h"

namespace orrery {
namespace {

struct CompareArguments {
  std::string experiment, trace, run_trace;
  std::vector<std::string> overrides;
  int stage = 1;
  bool json = false;
  double max_error = -1;
};

void check_error(const CompareArguments& a, const char* what, const ComparedRow& row) {
  if (a.max_error < 0 || std::abs(row.error()) * 100 <= a.max_error) return;
  throw Error(ExitCode::kThreshold,
              fmt::format("the {} is {:+.1f} % off, more than --max-error {:g} %", what,
                          100 * row.error(), a.max_error));
}

void compare_with_run(const CompareArguments& a, const StudySpec& study) {
  const RunComparison c = compare_run(study, read_run_trace(a.run_trace));
  fmt::print("{}", a.json ? run_comparison_json(c) : run_comparison_text(c));
  if (!c.complete())
    throw Error(ExitCode::kBadInput,
                fmt::format("{}: not every op has its counterpart; the trace is of another plan or "
                            "model, or of another version",
                            a.run_trace));
  check_error(a, "step", c.step);
}

void compare_verb(const CompareArguments& a) {
  if (a.trace.empty() == a.run_trace.empty())
    throw Error(ExitCode::kUsage,
                "compare takes either a Kineto trace or --run with the trace of `orrery run`");
  const StudySpec study = load_study(a.experiment, a.overrides, data_root());
  if (!a.run_trace.empty()) return compare_with_run(a, study);
  if (a.stage >= study.plan.pipeline_parallel)
    throw Error(
        ExitCode::kUsage,
        fmt::format("--stage {}: the plan has pipeline_parallel {} stages, 0 to {}", a.stage,
                    study.plan.pipeline_parallel, study.plan.pipeline_parallel - 1));
  const Comparison c = compare_pair(study, a.stage, read_kineto(a.trace));
  fmt::print("{}", a.json ? comparison_json(c) : comparison_text(c));
  check_error(a, "pair", c.total);
}

}  // namespace

void add_compare(CLI::App& app) {
  auto a = std::make_shared<CompareArguments>();
  CLI::App* verb = app.add_subcommand(
      "compare",
      "Put the simulated forward+backward pair of a stage beside a measured trace, or the "
      "simulated step beside one that was run");
  verb->add_option("experiment", a->experiment, "folder with an experiment.json, or the file")
      ->required();
  verb->add_option("trace", a->trace, "PyTorch/Kineto trace (Chrome JSON) of one pair");
  verb->add_option(
      "--run", a->run_trace,
      "trace of `orrery run --trace` of the same experiment: the whole step, op by op");
  verb->add_option("--stage", a->stage, "pipeline stage whose pair is simulated")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--set", a->overrides, "change a value: /json/pointer=value (repeatable)");
  verb->add_flag("--json", a->json, "one JSON object instead of text");
  verb->add_option("--max-error", a->max_error,
                   "exit with 4 when the time of the pair or step is further off, in percent");
  verb->callback([a] { compare_verb(*a); });
}

}  // namespace orrery
