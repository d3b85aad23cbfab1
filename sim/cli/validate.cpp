#include "sim/report/validate.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "sim/base/file.h"
#include "sim/base/parallel.h"
#include "sim/base/progress.h"
#include "sim/cli/verbs.h"
#include "sim/report/fit.h"
#include "sim/report/json.h"
#include "sim/report/residuals.h"
#include "sim/report/sensitivity.h"
#include "sim/study/residual_runs.h"

namespace orrery {
namespace {

struct ValidateArguments {
  std::string folder;
  std::string progress = "auto";
  std::string only;
  std::string fit;
  std::string residuals;
  int threads = default_threads();
  bool json = false, markdown = false, quiet = false, sensitivity = false;
  double max_error = -1;
};

void validate_verb(const ValidateArguments& a) {
  const std::string folder = a.folder.empty() ? data_root() + "/experiments/validation" : a.folder;
  const ProgressMode mode = a.quiet                ? ProgressMode::kQuiet
                            : a.progress == "json" ? ProgressMode::kJson
                                                   : ProgressMode::kAuto;
  std::unique_ptr<Progress> progress;
  ValidateOptions options;
  options.figure = result_value;
  options.threads = a.threads;
  options.progress = [&](int64_t done, int64_t total) {
    if (!progress) progress = std::make_unique<Progress>("validating", total, mode);
    progress->update(done);
  };
  if (a.sensitivity) {
    const Sensitivity s = sensitivity(folder, data_root(), {options, a.only});
    progress.reset();
    fmt::print("{}", a.json ? sensitivity_json(s) : sensitivity_text(s));
    return;
  }
  if (!a.residuals.empty()) {
    const ResidualRuns r = residual_runs(folder, data_root(), options);
    progress.reset();
    for (const std::string& problem : r.problems)
      fmt::print(stderr, "orrery: left out: {}\n", problem);
    write_file_atomically(a.residuals, residuals_json(r.residuals));
    fmt::print("wrote {}: time of {} runs, memory of {}\n", a.residuals, r.residuals.time.size(),
               r.residuals.memory.size());
    return;
  }
  if (!a.fit.empty()) {
    const FitSpec spec = read_fit(a.fit);
    const FitResult r = fit(spec, folder, data_root(), options);
    progress.reset();
    fmt::print("{}", a.json ? fit_json(spec, r) : fit_text(spec, r));
    return;
  }
  const Validation v = validate(folder, data_root(), options);
  progress.reset();
  fmt::print("{}", a.json       ? validation_json(v)
                   : a.markdown ? validation_markdown(v)
                                : validation_text(v));
  if (a.max_error < 0 || v.time.empty() || 100 * v.time.front().median <= a.max_error) return;
  throw Error(ExitCode::kThreshold,
              fmt::format("the median error of the step's time is {:.1f} %, more than --max-error "
                          "{:g} %",
                          100 * v.time.front().median, a.max_error));
}

}  // namespace

void add_validate(CLI::App& app) {
  auto a = std::make_shared<ValidateArguments>();
  CLI::App* verb = app.add_subcommand(
      "validate", "Predict published training runs and print how far off the predictions are");
  verb->add_option("folder", a->folder,
                   "folder of experiments with a \"validation\" member (experiments/validation)");
  CLI::Option* sensitivity = verb->add_flag(
      "--sensitivity", a->sensitivity,
      "how the errors move when each fitted, measured or assumed constant of the profiles moves "
      "10 % down and up (minutes)");
  verb->add_option("--only", a->only, "with --sensitivity: constants whose name contains this")
      ->needs(sensitivity);
  CLI::Option* fit =
      verb->add_option("--fit", a->fit,
                       "fit the constants that this file names on the runs whose validation says "
                       "\"fitted\" and print them; no file changes")
          ->check(CLI::ExistingFile)
          ->excludes(sensitivity);
  CLI::Option* residuals =
      verb->add_option(
              "--residuals", a->residuals,
              "write to this file the errors of the runs whose validation says "
              "\"fitted\", from which intervals are estimated (hardware_profiles/residuals)")
          ->excludes(sensitivity)
          ->excludes(fit);
  verb->add_option("--threads", a->threads, "the result does not depend on it")
      ->check(CLI::Range(1, 1024));
  verb->add_flag("--json", a->json, "one JSON object instead of text");
  verb->add_flag("--markdown", a->markdown, "the tables of README.md")
      ->excludes(sensitivity)
      ->excludes(residuals)
      ->excludes(fit);
  verb->add_option("--max-error", a->max_error,
                   "exit with 4 when the median error of the step's time is larger, in percent")
      ->excludes(sensitivity)
      ->excludes(residuals)
      ->excludes(fit);
  verb->add_flag("--quiet", a->quiet, "no progress line");
  verb->add_option("--progress", a->progress, "auto, or json: one object a line on stderr")
      ->check(CLI::IsMember({"auto", "json"}))
      ->capture_default_str();
  verb->callback([a] { validate_verb(*a); });
}

}  // namespace orrery
