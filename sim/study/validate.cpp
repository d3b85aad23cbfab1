#include "sim/study/validate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>

#include "sim/base/json_reader.h"
#include "sim/base/parallel.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

// More of these is a shorter step.
bool is_rate(const std::string& figure) { return figure != "step_time_s"; }

double nearest_rank(const std::vector<double>& sorted, double share) {
  const auto n = static_cast<double>(sorted.size());
  const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(share * n)));
  return sorted[rank - 1];
}

ErrorSummary summary(std::string name, const std::vector<const ValidationResult*>& of) {
  ErrorSummary s;
  s.name = std::move(name);
  s.cases = static_cast<int>(of.size());
  if (of.empty()) return s;
  std::vector<double> absolute;
  for (const ValidationResult* r : of) {
    absolute.push_back(std::abs(r->error()));
    s.bias += r->error() / static_cast<double>(of.size());
  }
  std::sort(absolute.begin(), absolute.end());
  s.median = nearest_rank(absolute, 0.5);
  s.p90 = nearest_rank(absolute, 0.9);
  s.largest = absolute.back();
  return s;
}

std::vector<ErrorSummary> summaries(const std::vector<ValidationResult>& results, bool memory) {
  std::vector<const ValidationResult*> all, unfitted;
  std::map<std::string, std::vector<const ValidationResult*>> families;
  for (const ValidationResult& r : results) {
    if (r.memory != memory || !r.problem.empty()) continue;
    all.push_back(&r);
    if (!r.fitted) unfitted.push_back(&r);
    families[r.family].push_back(&r);
  }
  if (all.empty()) return {};
  std::vector<ErrorSummary> out = {summary("all", all), summary("never used for a fit", unfitted)};
  for (const auto& [family, of] : families) out.push_back(summary(family, of));
  return out;
}

// Below this difference two published figures count as equal.
constexpr double kTie = 0.005;

double slowness(const ValidationResult& r, double value) {
  return is_rate(r.figure) ? 1 / value : value;
}

void check_orders(Validation& v) {
  std::map<std::string, std::vector<const ValidationResult*>> groups;
  for (const ValidationResult& r : v.results)
    if (!r.group.empty() && !r.memory && r.problem.empty()) groups[r.group].push_back(&r);
  for (const auto& [group, of] : groups)
    for (const ValidationResult* a : of)
      for (const ValidationResult* b : of) {
        const double fast = slowness(*a, a->published), slow = slowness(*b, b->published);
        if (fast >= slow * (1 - kTie)) continue;
        ++v.ordered_pairs;
        if (slowness(*a, a->predicted) >= slowness(*b, b->predicted))
          v.wrong_orders.push_back({group, a->name, b->name});
      }
}

// What the residuals' decimals and other compilers may differ by.
constexpr double kSameLnRatio = 2e-4;

void add_interval(ValidationResult& r, const Prediction& p) {
  const std::optional<FigureInterval>& i = r.memory ? p.interval.memory : p.interval.time;
  if (!i || !r.problem.empty()) return;
  const bool inverse = !r.memory && is_rate(r.figure);
  r.low = r.predicted * (inverse ? 1 / i->factors.high : i->factors.low);
  r.high = r.predicted * (inverse ? 1 / i->factors.low : i->factors.high);
  r.basis = i->basis;
  const std::vector<RunResidual>& rows =
      r.memory ? p.study.residuals.memory : p.study.residuals.time;
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const RunResidual& x) { return x.run == p.study.name; });
  r.stale =
      r.fitted && (row == rows.end() || std::abs(row->ln_ratio - r.ln_ratio()) > kSameLnRatio);
}

std::vector<Coverage> coverages(const std::vector<ValidationResult>& results, bool memory) {
  std::vector<Coverage> of = {{"used for a fit"},
                              {"never used for a fit"},
                              {"never used, of a stack without runs"},
                              {"never used, of a stack with runs on other GPUs"},
                              {memory ? "never used, of a stack with runs"
                                      : "never used, of a stack with runs on the GPU"}};
  for (const ValidationResult& r : results) {
    if (r.memory != memory || !r.has_interval()) continue;
    const auto count = [&](std::size_t i) {
      ++of[i].cases;
      of[i].covered += r.covered() ? 1 : 0;
    };
    count(r.fitted ? 0 : 1);
    if (!r.fitted) count(2 + static_cast<std::size_t>(r.basis));
  }
  std::erase_if(of, [](const Coverage& c) { return c.cases == 0; });
  return of;
}

bool is_memory(const std::string& figure) { return figure.find("GiB") != std::string::npos; }

}  // namespace

double ValidationResult::error() const {
  const double ratio = predicted / published;
  return (memory || !is_rate(figure) ? ratio : 1 / ratio) - 1;
}

double ValidationResult::ln_ratio() const { return -std::log1p(error()); }

std::string case_name(const std::string& file, const std::string& folder) {
  return fs::relative(file, folder).replace_extension().generic_string();
}

std::vector<ValidationResult> validate_case(const StudySpec& study, const std::string& name,
                                            const ValidateOptions& options) {
  ValidationResult r;
  r.name = name;
  Prediction p;
  if (study.validation) {
    r.family = study.validation->family;
    r.group = study.validation->group;
    r.missing = study.validation->missing;
    r.fitted = study.validation->fitted;
  }
  try {
    PredictOptions o;
    o.allow_oom = true;  // the run is known to have fitted: an error of memory, not of time
    o.verified = options.verified.get();
    o.replay_allocator =
        std::any_of(study.published.begin(), study.published.end(),
                    [](const PublishedValue& value) { return value.name == kReservedMemory; });
    p = predict(study, o);
  } catch (const Error& e) {
    r.problem = e.what();
  }
  std::vector<ValidationResult> out;
  for (const PublishedValue& value : study.published) {
    ValidationResult figure = r;
    figure.figure = value.name;
    figure.memory = is_memory(value.name);
    figure.published = value.value;
    if (figure.problem.empty() && !options.figure(p, value.name, figure.predicted))
      figure.problem = "no such figure in a prediction: " + value.name;
    add_interval(figure, p);
    out.push_back(std::move(figure));
  }
  return out;
}

std::vector<std::string> validation_files(const std::string& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    throw Error(ExitCode::kNoInput, folder + ": there is no such folder of cases");
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().extension() != ".json") continue;
    const json::Node root = json::parse_json_file(entry.path().string());
    if (root.kind == json::Node::Kind::kObject && root.find("validation") != nullptr)
      files.push_back(entry.path().string());
  }
  if (files.empty())
    throw Error(ExitCode::kNoInput,
                folder + ": found no experiment with a \"validation\" member below this folder");
  std::sort(files.begin(), files.end());
  return files;
}

void for_each_case(std::size_t cases, const ValidateOptions& options,
                   const std::function<void(std::size_t)>& one) {
  std::mutex reporting;
  int64_t done = 0;
  for_each_index(cases, options.threads, [&](std::size_t i) {
    one(i);
    const std::lock_guard<std::mutex> lock(reporting);
    if (options.progress) options.progress(++done, static_cast<int64_t>(cases));
  });
}

void summarise(Validation& v) {
  v.time = summaries(v.results, false);
  v.memory = summaries(v.results, true);
  v.time_coverage = coverages(v.results, false);
  v.memory_coverage = coverages(v.results, true);
  v.stale.clear();
  for (const ValidationResult& r : v.results)
    if (r.stale) v.stale.push_back(r.name);
  v.wrong_orders.clear();
  v.ordered_pairs = 0;
  check_orders(v);
}

Validation validation_of(const std::vector<std::vector<ValidationResult>>& of_case) {
  Validation v;
  for (const auto& results : of_case)
    v.results.insert(v.results.end(), results.begin(), results.end());
  summarise(v);
  return v;
}

Validation validate(const std::string& folder, const std::string& data_root,
                    const ValidateOptions& options) {
  const std::vector<std::string> files = validation_files(folder);
  std::vector<std::vector<ValidationResult>> of_case(files.size());
  for_each_case(files.size(), options, [&](std::size_t i) {
    const StudySpec study = load_study(files[i], {}, data_root);
    of_case[i] = validate_case(study, case_name(files[i], folder), options);
  });
  return validation_of(of_case);
}

}  // namespace orrery
