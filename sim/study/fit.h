// Fits named constants of the profiles on the published runs whose validation says "fitted": those
// were chosen beforehand, every other run judges the fit.
//
// A fit file:
//   { "residual": 0.05, "constants": [
//     {"name": "stack/torchtitan: step_speed/matrix", "prior": 1, "spread": 0.15,
//      "range": {"from": 0.5, "to": 1}}
//   ]}
// minimises, over theta_k = ln(constant_k / prior_k),
//   sum over runs of huber((ln(predicted / published step time)) / residual) + sum (theta_k /
//   spread_k)^2 / 2
// (the most probable constants when runs scatter by `residual` and constants by `spread` about
// their priors; Huber's loss, quadratic to 2 and linear beyond, keeps single runs from pulling) by
// damped Gauss-Newton steps with one-sided differences; a constant at a bound that the step would
// leave stays there while the others move. Ignored: runs of one family err together.
#pragma once

#include <string>
#include <vector>

#include "sim/study/validate.h"

namespace orrery {

struct FitConstant {
  std::string name;   // of profile_constants
  double prior = 0;   // > 0
  double spread = 0;  // standard deviation of ln(constant / prior)
  double low = 0, high = 0;
};

struct FitSpec {
  double residual = 0;  // standard deviation of ln(predicted / published)
  std::vector<FitConstant> constants;
};

// Throws InputError with all findings.
FitSpec read_fit(const std::string& path);

struct FittedConstant {
  std::string name;
  double before = 0;  // in the profile
  double value = 0;
  // Standard deviation of ln(constant) given the runs; near the prior's `spread` the runs say
  // nothing about it. At its bound: with the others as they are.
  double deviation = 0;
  int runs = 0;  // of the fit, that the constant moves
};

struct FitResult {
  std::vector<FittedConstant> constants;  // in the order of the file
  Validation before, after;               // all runs
  int iterations = 0;
  bool converged = false;  // no constant moved by more than 0.01 % in the last step
};

// O(iterations · fitted runs · constants that a run reads) predictions. Throws as validate() does,
// and InputError for a constant that no fitted run reads.
FitResult fit(const FitSpec& spec, const std::string& folder, const std::string& data_root,
              ValidateOptions options);

}  // namespace orrery
