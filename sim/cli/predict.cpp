#include <fmt/format.h>

#include <memory>

#include "sim/base/file.h"
#include "sim/base/progress.h"
#include "sim/cli/verbs.h"
#include "sim/report/analytic.h"
#include "sim/report/json.h"
#include "sim/report/perfetto.h"
#include "sim/report/text.h"

namespace orrery {
namespace {

struct PredictArguments {
  std::string experiment;
  std::vector<std::string> overrides;
  std::string trace;
  std::string progress = "auto";
  std::string fidelity = "flow";
  bool json = false, unfold = false, no_fast_forward = false, allow_oom = false, quiet = false;
};

void predict_verb(const PredictArguments& a) {
  const StudySpec study = load_study(a.experiment, a.overrides, data_root());
  if (a.fidelity == "analytic") {
    const AnalyticStep step = analytic_step(study);
    fmt::print("{}", a.json ? analytic_json(study, step) : analytic_text(study, step));
    return;
  }
  PredictOptions options;
  options.folding = a.unfold ? Folding::kUnfolded : Folding::kFolded;
  if (a.fidelity == "chunk") options.collectives = CollectiveTier::kChunk;
  options.allow_oom = a.allow_oom;
  options.fast_forward = !a.no_fast_forward;
  options.explain_memory = true;
  options.record = !a.trace.empty();
  const ProgressMode mode = a.quiet                ? ProgressMode::kQuiet
                            : a.progress == "json" ? ProgressMode::kJson
                                                   : ProgressMode::kAuto;
  std::unique_ptr<Progress> progress;
  options.progress = [&](int64_t done, int64_t total) {
    if (!progress) progress = std::make_unique<Progress>("simulating", total, mode);
    progress->update(done);
  };
  const Prediction p = predict(study, options);
  progress.reset();
  if (!a.trace.empty()) write_file_atomically(a.trace, chrome_trace(p));
  fmt::print("{}", a.json ? json_report(p) : text_report(p));
}

}  // namespace

void add_predict(CLI::App& app) {
  auto a = std::make_shared<PredictArguments>();
  CLI::App* verb = app.add_subcommand(
      "predict", "Simulate one training step and print what the whole training costs");
  verb->add_option("experiment", a->experiment, "folder with an experiment.json, or the file")
      ->required();
  verb->add_option("--set", a->overrides, "change a value: /json/pointer=value (repeatable)");
  verb->add_flag("--json", a->json, "one JSON object instead of text");
  verb->add_option("--trace", a->trace,
                   "write a Chrome/Perfetto trace of the step (one process per rank class)");
  verb->add_option("--fidelity", a->fidelity,
                   "flow: simulate every op; chunk: the same with collectives step by step; "
                   "analytic: a lower bound of the step, much faster")
      ->check(CLI::IsMember({"flow", "chunk", "analytic"}))
      ->capture_default_str();
  verb->add_flag("--unfold", a->unfold, "simulate every rank instead of one per class");
  verb->add_flag("--no-fast-forward", a->no_fast_forward,
                 "simulate every micro-batch, also those that repeat (the result is the same)");
  verb->add_flag("--allow-oom", a->allow_oom, "report a plan that does not fit in memory");
  verb->add_flag("--quiet", a->quiet, "no progress line");
  verb->add_option("--progress", a->progress, "auto, or json: one object a line on stderr")
      ->check(CLI::IsMember({"auto", "json"}))
      ->capture_default_str();
  verb->footer(
      "Example: orrery predict experiments/deepseek_v3 "
      "--set /cluster/node/gpu/hbm_bandwidth_GBps=4800");
  verb->callback([a] { predict_verb(*a); });
}

}  // namespace orrery
