#include "sim/study/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/text.h"
#include "sim/study/constants.h"

namespace orrery {
namespace {

using json::Node;
using json::Reader;

constexpr double kHuber = 2;           // in residuals
constexpr double kDifference = 0.01;   // of ln(constant), for derivatives
constexpr double kLargestStep = 0.25;  // of ln(constant)
constexpr double kConverged = 1e-4;
constexpr int kMaxIterations = 20;

// A published run with the places of the constants that it reads.
struct Run {
  std::string name;
  std::string file;
  Node root;
  StudySpec study;  // as the profiles have it
  struct Place {
    std::size_t constant;
    Node* value;
  };
  std::vector<Place> places;
  bool fitted = false;
};

struct Row {
  double residual = 0;             // ln(predicted / published) of the step's time
  std::vector<double> derivative;  // one per place
};

std::vector<std::string> names_in(Run& run, const std::string& profiles, const FitSpec& spec) {
  std::vector<std::string> names;
  for (const ProfileConstant& c : profile_constants(run.root, profiles)) {
    names.push_back(c.name);
    for (std::size_t k = 0; k < spec.constants.size(); ++k)
      if (spec.constants[k].name == c.name)
        if (Node* value = c.node->find("value")) run.places.push_back({k, value});
  }
  return names;
}

void check_all_read(const FitSpec& spec, const std::vector<Run>& runs,
                    const std::vector<std::string>& known) {
  Diagnostics d;
  for (std::size_t k = 0; k < spec.constants.size(); ++k) {
    const bool read = std::any_of(runs.begin(), runs.end(), [&](const Run& r) {
      return r.fitted && std::any_of(r.places.begin(), r.places.end(),
                                     [&](const Run::Place& p) { return p.constant == k; });
    });
    if (read) continue;
    const std::string& name = spec.constants[k].name;
    const std::string near = nearest_name(name, known);
    d.add(name, "no run whose validation says \"fitted\" reads this constant" +
                    (near.empty() || near == name ? "" : fmt::format("; did you mean {}?", near)));
  }
  d.throw_if_any();
}

std::vector<Run> read_runs(const FitSpec& spec, const std::string& folder,
                           const std::string& data_root) {
  const std::vector<std::string> files = validation_files(folder);
  std::vector<Run> runs(files.size());
  std::vector<std::string> known;
  for (std::size_t i = 0; i < files.size(); ++i) {
    Run& r = runs[i];
    r.file = files[i];
    r.name = case_name(r.file, folder);
    r.root = resolve_experiment(r.file, data_root);
    r.study = read_experiment(r.root, r.file);
    r.fitted = r.study.validation->fitted;
    const std::vector<std::string> names = names_in(r, data_root + "/hardware_profiles", spec);
    known.insert(known.end(), names.begin(), names.end());
  }
  check_all_read(spec, runs, known);
  return runs;
}

StudySpec study_with(const Run& run, const std::vector<double>& values) {
  for (const Run::Place& p : run.places) {
    p.value->kind = Node::Kind::kNumber;
    p.value->number = values[p.constant];
  }
  return read_experiment(run.root, run.file);
}

double log_error(const Run& run, const std::vector<double>& values, const ValidateOptions& o) {
  for (const ValidationResult& r : validate_case(study_with(run, values), run.name, o))
    if (!r.memory && r.problem.empty()) return std::log1p(r.error());
  return 0;
}

class Fit {
 public:
  Fit(const FitSpec& spec, std::vector<Run>& runs, const ValidateOptions& options)
      : spec_(spec), runs_(runs), options_(options), theta_(spec.constants.size(), 0) {
    for (Run& r : runs_)
      if (r.fitted) used_.push_back(&r);
  }

  // One Gauss-Newton step; returns how far the constant that moved most did.
  double step() {
    assemble(rows());
    hold_bound();
    const std::vector<double> by = solve(gradient_);
    double moved = 0;
    for (std::size_t k = 0; k < theta_.size(); ++k) {
      const FitConstant& c = spec_.constants[k];
      const double to = std::clamp(theta_[k] - std::clamp(by[k], -kLargestStep, kLargestStep),
                                   std::log(c.low / c.prior), std::log(c.high / c.prior));
      moved = std::max(moved, std::abs(to - theta_[k]));
      theta_[k] = to;
    }
    return moved;
  }

  std::vector<double> values() const {
    std::vector<double> out;
    for (std::size_t k = 0; k < theta_.size(); ++k) out.push_back(value(k, theta_[k]));
    return out;
  }

  // Of the normal matrix of the last step.
  double deviation(std::size_t k) const {
    std::vector<double> unit(theta_.size(), 0);
    unit[k] = 1;
    return std::sqrt(solve(unit)[k]);
  }

 private:
  double value(std::size_t k, double theta) const {
    const FitConstant& c = spec_.constants[k];
    return std::clamp(c.prior * std::exp(theta), c.low, c.high);
  }

  Row row(const Run& run, const std::vector<double>& at) const {
    Row out;
    out.residual = log_error(run, at, options_);
    for (const Run::Place& p : run.places) {
      std::vector<double> moved = at;
      double h = kDifference;
      if (value(p.constant, theta_[p.constant] + h) == at[p.constant]) h = -h;
      moved[p.constant] = value(p.constant, theta_[p.constant] + h);
      h = std::log(moved[p.constant] / at[p.constant]);
      out.derivative.push_back(h == 0 ? 0 : (log_error(run, moved, options_) - out.residual) / h);
    }
    return out;
  }

  std::vector<Row> rows() const {
    std::vector<Row> out(used_.size());
    const std::vector<double> at = values();
    for_each_case(used_.size(), options_, [&](std::size_t i) { out[i] = row(*used_[i], at); });
    return out;
  }

  void assemble(const std::vector<Row>& rows) {
    const std::size_t n = theta_.size();
    normal_.assign(n * n, 0);
    gradient_.assign(n, 0);
    for (std::size_t k = 0; k < n; ++k) {
      const double precision = 1 / std::pow(spec_.constants[k].spread, 2);
      normal_[k * n + k] = precision;
      gradient_[k] = precision * theta_[k];
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double scaled = std::abs(rows[i].residual) / spec_.residual;
      const double weight = (scaled > kHuber ? kHuber / scaled : 1) / std::pow(spec_.residual, 2);
      const auto& places = used_[i]->places;
      for (std::size_t a = 0; a < places.size(); ++a) {
        const std::size_t row = places[a].constant;
        gradient_[row] += weight * rows[i].derivative[a] * rows[i].residual;
        for (std::size_t b = 0; b < places.size(); ++b)
          normal_[row * n + places[b].constant] +=
              weight * rows[i].derivative[a] * rows[i].derivative[b];
      }
    }
  }

  // Constants at a bound that the step would leave do not take part in it: the others then move as
  // if they were fixed.
  void hold_bound() {
    const std::size_t n = theta_.size();
    for (std::size_t k = 0; k < n; ++k) {
      const FitConstant& c = spec_.constants[k];
      const bool low = theta_[k] <= std::log(c.low / c.prior) && gradient_[k] >= 0;
      const bool high = theta_[k] >= std::log(c.high / c.prior) && gradient_[k] <= 0;
      if (!low && !high) continue;
      gradient_[k] = 0;
      for (std::size_t i = 0; i < n; ++i)
        if (i != k) normal_[k * n + i] = normal_[i * n + k] = 0;
    }
  }

  // normal_ x = b by Cholesky's factors; the priors make it positive definite.
  std::vector<double> solve(std::vector<double> b) const {
    const std::size_t n = b.size();
    std::vector<double> l = normal_;
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t i = j; i < n; ++i) {
        double sum = l[i * n + j];
        for (std::size_t k = 0; k < j; ++k) sum -= l[i * n + k] * l[j * n + k];
        l[i * n + j] = i == j ? std::sqrt(sum) : sum / l[j * n + j];
      }
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t k = 0; k < i; ++k) b[i] -= l[i * n + k] * b[k];
      b[i] /= l[i * n + i];
    }
    for (std::size_t i = n; i-- > 0;) {
      for (std::size_t k = i + 1; k < n; ++k) b[i] -= l[k * n + i] * b[k];
      b[i] /= l[i * n + i];
    }
    return b;
  }

  const FitSpec& spec_;
  std::vector<Run>& runs_;
  const ValidateOptions& options_;
  std::vector<Run*> used_;
  std::vector<double> theta_;
  std::vector<double> normal_, gradient_;
};

Validation validation_with(const std::vector<Run>& runs, const std::vector<double>* values,
                           const ValidateOptions& options) {
  std::vector<std::vector<ValidationResult>> of_run(runs.size());
  for_each_case(runs.size(), options, [&](std::size_t i) {
    const StudySpec study = values == nullptr ? runs[i].study : study_with(runs[i], *values);
    of_run[i] = validate_case(study, runs[i].name, options);
  });
  return validation_of(of_run);
}

}  // namespace

FitSpec read_fit(const std::string& path) {
  const Node root = json::parse_json_file(path);
  Diagnostics diagnostics;
  Reader r(root, "", diagnostics);
  FitSpec spec;
  spec.residual = r.number("residual", {1e-4, 1});
  r.objects("constants", [&](Reader& c) {
    FitConstant k;
    k.name = c.string("name");
    k.prior = c.number("prior", json::kPositive);
    k.spread = c.number("spread", {1e-4, 10});
    const auto [low, high] = [&]() -> std::pair<double, double> {
      Reader range = c.object("range");
      const double from = range.number("from", json::kPositive);
      const double to = range.number("to", json::kPositive);
      if (from > k.prior || to < k.prior)
        range.fail(
            "", fmt::format("from {:g} to {:g} does not hold the prior {:g}", from, to, k.prior));
      range.finish();
      return {from, to};
    }();
    k.low = low, k.high = high;
    c.ignore("note");
    c.finish();
    spec.constants.push_back(std::move(k));
  });
  r.ignore("note");
  r.finish();
  diagnostics.throw_if_any();
  return spec;
}

FitResult fit(const FitSpec& spec, const std::string& folder, const std::string& data_root,
              ValidateOptions options) {
  options.verified = std::make_shared<VerifiedPlans>();
  std::vector<Run> runs = read_runs(spec, folder, data_root);
  FitResult result;
  for (std::size_t k = 0; k < spec.constants.size(); ++k) {
    FittedConstant c;
    c.name = spec.constants[k].name;
    for (const Run& r : runs)
      for (const Run::Place& p : r.places)
        if (p.constant == k) c.before = p.value->number, c.runs += r.fitted ? 1 : 0;
    result.constants.push_back(std::move(c));
  }
  Fit f(spec, runs, options);
  while (!result.converged && result.iterations < kMaxIterations) {
    ++result.iterations;
    result.converged = f.step() < kConverged;
  }
  const std::vector<double> values = f.values();
  for (std::size_t k = 0; k < values.size(); ++k) {
    result.constants[k].value = values[k];
    result.constants[k].deviation = f.deviation(k);
  }
  result.before = validation_with(runs, nullptr, options);
  result.after = validation_with(runs, &values, options);
  return result;
}

}  // namespace orrery
