#include "sim/report/compare.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <optional>

#include "sim/base/file.h"
#include "sim/base/text.h"
#include "sim/cli/compare_inputs.h"
#include "sim/cli/verbs.h"
#include "sim/report/compare_run.h"
#include "sim/report/perfetto_pair.h"

namespace orrery {
namespace {

struct CompareArguments {
  std::vector<std::string> files, runs, overrides;
  std::string perfetto, metrics;
  std::optional<int> stage;
  std::optional<int64_t> rank, step;
  bool json = false;
  int top = kDefaultTop;
  double max_error = -1;
};

[[noreturn]] void refuse(const std::string& message) { throw Error(ExitCode::kUsage, message); }

void check_error(const CompareArguments& a, const Sides& sides, const ComparedRow& row) {
  const double fraction = sides.fraction(row.predicted_us, row.measured_us);
  if (a.max_error < 0 || std::abs(fraction) * 100 <= a.max_error) return;
  throw Error(ExitCode::kThreshold,
              fmt::format("the {} {} {:+.1f} %{}, more than --max-error {:g} %", row.name,
                          sides.relative_to_first ? "changed by" : "is", 100 * fraction,
                          sides.relative_to_first ? "" : " off", a.max_error));
}

void write_perfetto(const CompareArguments& a, const std::string& title, const Timeline& first,
                    const Timeline& second, const Sides& sides, bool joined) {
  if (!a.perfetto.empty())
    write_file_atomically(a.perfetto, side_by_side_trace(title, first, second, sides, joined));
}

[[noreturn]] void refuse_another_plan(const std::string& path, const std::string& of_trace,
                                      const std::string& of_study) {
  const std::string message =
      of_trace == of_study ? "not every op has its counterpart; the trace is of another plan or "
                             "model (give the --set "
                             "that the run had), or of another version"
                           : fmt::format("the trace is of experiment {}, the prediction of {}",
                                         in_quotes(of_trace), in_quotes(of_study));
  throw InputError({{path, message}});
}

void compare_with_run(const CompareArguments& a, const StudySpec& study, const CompareInputs& in) {
  const std::string& path = in.runs[0];
  const std::string& metrics = a.metrics.empty() ? in.metrics : a.metrics;
  RunComparison c = compare_run(study, read_run_trace(path));
  if (!metrics.empty()) add_metrics(c, read_run_metrics(metrics));
  const Sides sides = predicted_and_measured();
  const std::string title =
      fmt::format("step of {} on {}", in_quotes(c.experiment), in_quotes(c.device));
  if (c.complete()) write_perfetto(a, c.experiment, c.predicted, c.measured, sides, true);
  fmt::print("{}",
             a.json ? run_comparison_json(c, sides) : run_comparison_text(title, c, sides, a.top));
  if (!c.complete()) refuse_another_plan(path, c.experiment, study.name);
  check_error(a, sides, c.untraced.value_or(c.step));
}

void compare_two_runs(const CompareArguments& a, const std::vector<std::string>& paths) {
  const NamedRun first{paths[0], read_run_trace(paths[0])};
  const NamedRun second{paths[1], read_run_trace(paths[1])};
  const RunComparison c = compare_runs(first, second);
  const Sides sides = two_runs();
  std::string title;
  for (const NamedRun* r : {&first, &second})
    title += fmt::format("{}: {}, {} on {}\n", r == &first ? "a" : "b", r->path,
                         in_quotes(r->trace.experiment), in_quotes(r->trace.device));
  write_perfetto(a, c.experiment, c.predicted, c.measured, sides, true);
  fmt::print("{}", a.json ? run_comparison_json(c, sides)
                          : run_comparison_text(title + "step", c, sides, a.top));
  check_error(a, sides, c.step);
}

Comparison pair_of(const CompareArguments& a, const StudySpec& study, const MeasuredTrace& trace) {
  const int stage = a.stage.value_or(1);
  if (stage < 0 || stage >= study.plan.pipeline_parallel)
    refuse(fmt::format("--stage {}: the plan has pipeline_parallel {} stages, 0 to {}", stage,
                       study.plan.pipeline_parallel, study.plan.pipeline_parallel - 1));
  return compare_pair(study, stage, trace);
}

int64_t rank_of(const CompareArguments& a, const StudySpec& study, const MeasuredTrace& trace) {
  const int64_t ranks = study.plan.world_size();
  const int64_t rank = a.rank.value_or(trace.rank.value_or(0));
  if (rank >= 0 && rank < ranks) return rank;
  if (a.rank)
    refuse(fmt::format("--rank {}: the plan has {} ranks, 0 to {}", rank, ranks, ranks - 1));
  refuse(
      fmt::format("the trace is of rank {}, but the plan has {} ranks; --rank says which of them "
                  "it stands for",
                  rank, ranks));
}

std::string step_text(const MeasuredStep& s, int64_t rank) {
  std::string out = fmt::format("rank {}", rank);
  if (!s.trace.device.empty()) out += " on " + escaped(s.trace.device);
  if (s.number < 0) return out + ", the whole trace";
  out += fmt::format(", profiled step {}", s.number);
  if (s.last > s.first) out += fmt::format(" of {} to {}", s.first, s.last);
  if (s.left_out > 0)
    out += fmt::format("; {} kernel{} outside of steps left out", s.left_out,
                       s.left_out == 1 ? "" : "s");
  return out;
}

void compare_with_kineto(const CompareArguments& a, const StudySpec& study,
                         const std::string& path) {
  const MeasuredTrace trace = read_kineto(path);
  const bool pair = a.stage.has_value() || is_annotated_pair(trace);
  if (pair && (a.rank || a.step))
    refuse("--rank and --step are for traces of whole steps, not of a pair of passes");
  Comparison c;
  std::string what;
  if (pair) {
    c = pair_of(a, study, trace);
  } else {
    const MeasuredStep step = select_step(trace, a.step, path);
    const int64_t rank = rank_of(a, study, trace);
    c = compare_step(study, rank, step);
    what = step_text(step, rank);
  }
  const Sides sides = predicted_and_measured();
  write_perfetto(a, study.name, c.predicted, c.measured, sides, false);
  fmt::print("{}", a.json ? comparison_json(c) : comparison_text(c, what, a.top));
  check_error(a, sides, c.total);
}

void compare_verb(const CompareArguments& a) {
  const CompareInputs in = compare_inputs(a.files, a.runs);
  if (in.kineto.empty() && (a.stage || a.rank || a.step))
    refuse("--stage, --rank and --step are for PyTorch traces");
  if (!a.metrics.empty() && (in.experiment.empty() || !in.kineto.empty()))
    refuse("--metrics is for an experiment beside a trace of `orrery run`");
  if (in.experiment.empty()) {
    if (!a.overrides.empty()) refuse("--set is for an experiment; two traces have none");
    return compare_two_runs(a, in.runs);
  }
  const StudySpec study = load_study(in.experiment, a.overrides, data_root());
  if (!in.kineto.empty()) return compare_with_kineto(a, study, in.kineto);
  compare_with_run(a, study, in);
}

}  // namespace

void add_compare(CLI::App& app) {
  auto a = std::make_shared<CompareArguments>();
  CLI::App* verb = app.add_subcommand(
      "compare",
      "Put the prediction of an experiment beside a measured trace, or two measured traces beside "
      "each other");
  verb->add_option("files", a->files,
                   "an experiment and a trace, of `orrery run --trace` (or the folder of --out) or "
                   "of PyTorch's profiler; or two traces of `orrery run`");
  verb->add_option("--run", a->runs, "a trace of `orrery run --trace` (repeatable)")
      ->allow_extra_args(false);
  verb->add_option("--metrics", a->metrics,
                   "metrics.jsonl of the run, for its steps without a trace and its memory");
  verb->add_option("--set", a->overrides, "change a value: /json/pointer=value (repeatable)")
      ->allow_extra_args(false);
  verb->add_option("--rank", a->rank, "PyTorch: the rank that was traced, else as the trace says");
  verb->add_option("--step", a->step, "PyTorch: the ProfilerStep to take, else a typical one");
  verb->add_option("--stage", a->stage,
                   "PyTorch: the trace is of a forward+backward pair of this pipeline stage "
                   "(annotated as DeepSeek's profile: of stage 1)");
  verb->add_option("--top", a->top, "rows of each table, the largest differences; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_flag("--json", a->json, "one JSON object instead of text");
  verb->add_option("--perfetto", a->perfetto,
                   "write both sides as one Chrome/Perfetto trace, for ui.perfetto.dev");
  verb->add_option("--max-error", a->max_error,
                   "exit with 4 when the time of the step or pair is further off, in percent");
  verb->footer(
      "Example: orrery run experiments/tiny_moe --steps 8 --trace run.json\n"
      "         orrery compare experiments/tiny_moe run.json --perfetto both.json");
  verb->callback([a] { compare_verb(*a); });
}

}  // namespace orrery
