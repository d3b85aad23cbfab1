#include "sim/report/compare.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "sim/base/text.h"
#include "sim/cli/verbs.h"

namespace orrery {
namespace {

struct CompareArguments {
  std::string experiment, trace;
  std::vector<std::string> overrides;
  int stage = 1;
  bool json = false;
  double max_error = -1;
};

void compare_verb(const CompareArguments& a) {
  const StudySpec study = load_study(a.experiment, a.overrides, data_root());
  if (a.stage >= study.plan.pipeline_parallel)
    throw Error(
        ExitCode::kUsage,
        fmt::format("--stage {}: the plan has pipeline_parallel {} stages, 0 to {}", a.stage,
                    study.plan.pipeline_parallel, study.plan.pipeline_parallel - 1));
  const Comparison c = compare_pair(study, a.stage, read_kineto(a.trace));
  fmt::print("{}", a.json ? comparison_json(c) : comparison_text(c));
  if (a.max_error >= 0 && std::abs(c.total.error()) * 100 > a.max_error)
    throw Error(ExitCode::kThreshold,
                fmt::format("the pair is {:+.1f} % off, more than --max-error {:g} %",
                            100 * c.total.error(), a.max_error));
}

}  // namespace

void add_compare(CLI::App& app) {
  auto a = std::make_shared<CompareArguments>();
  CLI::App* verb = app.add_subcommand(
      "compare", "Put the simulated forward+backward pair of a stage beside a measured trace");
  verb->add_option("experiment", a->experiment, "folder with an experiment.json, or the file")
      ->required();
  verb->add_option("trace", a->trace, "PyTorch/Kineto trace (Chrome JSON) of one pair")->required();
  verb->add_option("--stage", a->stage, "pipeline stage whose pair is simulated")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--set", a->overrides, "change a value: /json/pointer=value (repeatable)");
  verb->add_flag("--json", a->json, "one JSON object instead of text");
  verb->add_option("--max-error", a->max_error,
                   "exit with 4 when the pair's time is further off, in percent");
  verb->callback([a] { compare_verb(*a); });
}

}  // namespace orrery
