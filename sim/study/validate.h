// Predictions held against published runs: the experiments below experiments/validation.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/study/interval.h"
#include "sim/study/predict.h"

namespace orrery {

// One published figure and its prediction.
struct ValidationResult {
  std::string name;  // of the case: its path below the folder, without ".json"
  std::string family;
  std::string figure;  // "tokens_per_s_per_gpu", ...
  std::string group;
  std::string missing;
  bool fitted = false;
  bool memory = false;  // a figure of memory rather than of time
  double published = 0;
  double predicted = 0;
  std::string problem;  // why there is no prediction; "": there is one
  // Of the figure, with probability kIntervalLevel; both 0: no interval.
  double low = 0, high = 0;
  ErrorBasis basis = ErrorBasis::kOtherStacks;
  // The residuals of the intervals do not hold this fitted run as it comes out now.
  bool stale = false;

  // Of the step's time, or of the memory: positive when more is predicted than was published.
  double error() const;
  // Of the step's time, or of the memory: ln(published / predicted).
  double ln_ratio() const;
  bool has_interval() const { return high > 0; }
  bool covered() const { return low <= published && published <= high; }
};

// How many published figures lie in the intervals of their predictions.
struct Coverage {
  std::string name;
  int cases = 0, covered = 0;
  double fraction() const { return cases == 0 ? 0 : static_cast<double>(covered) / cases; }
};

// How a set of errors is spread. Percentiles are nearest-rank.
struct ErrorSummary {
  std::string name;
  int cases = 0;
  double median = 0, p90 = 0, largest = 0;  // of the absolute error
  double bias = 0;                          // mean error
};

// Cases of one group in which two published figures differ and the predicted order is another.
struct WrongOrder {
  std::string group, faster, slower;  // as published
};

struct Validation {
  std::vector<ValidationResult> results;  // in the order of names
  std::vector<ErrorSummary> time;         // all, those never used for a fit, then each family
  std::vector<ErrorSummary> memory;
  // Of fitted runs (whose own errors the spread was estimated from), of those never used for a fit,
  // and of the latter by what their predictions rest on.
  std::vector<Coverage> time_coverage, memory_coverage;
  std::vector<std::string> stale;  // runs whose residuals want to be made anew
  std::vector<WrongOrder> wrong_orders;
  int ordered_pairs = 0;  // that were looked at
};

// Experiment files below `folder` that have a "validation" member, sorted by path. None, or no such
// folder, is an error.
std::vector<std::string> validation_files(const std::string& folder);

struct ValidateOptions {
  // The figure of that name in a prediction, or false.
  std::function<bool(const Prediction&, const std::string&, double&)> figure;
  // Cases done, of all; called from one thread at a time. May be empty.
  std::function<void(int64_t, int64_t)> progress;
  int threads = 1;  // results do not depend on it
  // Of predictions before, when many are of the same plans. May be null.
  std::shared_ptr<VerifiedPlans> verified;
};

// Calls one(i) for each of `cases` cases over the threads and reports progress.
void for_each_case(std::size_t cases, const ValidateOptions& options,
                   const std::function<void(std::size_t)>& one);

// Predicts every case. One that cannot be read is an error; one that cannot be predicted (it does
// not fit in memory, say) is a result with a problem.
Validation validate(const std::string& folder, const std::string& data_root,
                    const ValidateOptions& options);

// The results of one study that was read from a case: a row per published figure.
std::vector<ValidationResult> validate_case(const StudySpec& study, const std::string& name,
                                            const ValidateOptions& options);
// The name of a case.
std::string case_name(const std::string& file, const std::string& folder);

// From the results alone.
void summarise(Validation& v);
// Of the results of each case.
Validation validation_of(const std::vector<std::vector<ValidationResult>>& of_case);

}  // namespace orrery
