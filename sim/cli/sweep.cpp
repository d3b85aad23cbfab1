#include "sim/report/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "sim/base/parallel.h"
#include "sim/base/progress.h"
#include "sim/cli/verbs.h"

namespace orrery {
namespace {

struct SweepArguments {
  std::string experiment;
  std::vector<std::string> overrides, vary;
  std::string fidelity = "flow", progress = "auto";
  int threads = default_threads();
  bool json = false, jsonl = false, csv = false, quiet = false;
};

void sweep_verb(const SweepArguments& a) {
  SweepSpec spec;
  spec.experiment = a.experiment;
  spec.overrides = a.overrides;
  spec.threads = a.threads;
  spec.fidelity = a.fidelity == "analytic" ? Fidelity::kAnalytic : Fidelity::kFlow;
  int64_t points = 1;
  for (const std::string& v : a.vary) {
    spec.axes.push_back(parse_axis(v));
    points *= static_cast<int64_t>(spec.axes.back().values.size());
  }
  const ProgressMode mode = a.quiet                ? ProgressMode::kQuiet
                            : a.progress == "json" ? ProgressMode::kJson
                                                   : ProgressMode::kAuto;
  auto progress = std::make_unique<Progress>("sweeping", points, mode);
  spec.progress = [&](int64_t done) { progress->update(done); };
  const std::vector<SweepPoint> result = sweep(spec, data_root());
  progress.reset();
  fmt::print("{}", a.json    ? sweep_json(spec, result)
                   : a.jsonl ? sweep_jsonl(spec, result)
                   : a.csv   ? sweep_csv(spec, result)
                             : sweep_text(spec, result));
}

}  // namespace

void add_sweep(CLI::App& app) {
  auto a = std::make_shared<SweepArguments>();
  CLI::App* verb =
      app.add_subcommand("sweep", "Predict every combination of some values of an experiment");
  verb->add_option("experiment", a->experiment, "folder with an experiment.json, or the file")
      ->required();
  verb->add_option("--vary", a->vary, "/json/pointer=value,value,... (repeatable)")->required();
  verb->add_option("--set", a->overrides, "change a value in all: /json/pointer=value");
  verb->add_option("--fidelity", a->fidelity,
                   "flow: simulate every op; analytic: a lower bound of the step, much faster")
      ->check(CLI::IsMember({"flow", "analytic"}))
      ->capture_default_str();
  verb->add_option("--threads", a->threads, "the result does not depend on it")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  CLI::Option* json = verb->add_flag("--json", a->json, "one JSON object");
  CLI::Option* jsonl = verb->add_flag("--jsonl", a->jsonl, "one JSON object a line");
  CLI::Option* csv = verb->add_flag("--csv", a->csv, "comma-separated values");
  json->excludes(jsonl)->excludes(csv);
  jsonl->excludes(csv);
  verb->add_flag("--quiet", a->quiet, "no progress line");
  verb->add_option("--progress", a->progress, "auto, or json: one object a line on stderr")
      ->check(CLI::IsMember({"auto", "json"}))
      ->capture_default_str();
  verb->footer(
      "Example: orrery sweep experiments/deepseek_v3 --vary /plan/schedule=1f1b,dualpipe "
      "--vary /plan/global_batch=7680,15360");
  verb->callback([a] { sweep_verb(*a); });
}

}  // namespace orrery
