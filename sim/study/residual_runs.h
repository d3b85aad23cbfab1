// The residuals from which intervals are estimated, made anew from the published runs.
#pragma once

#include "sim/study/validate.h"

namespace orrery {

// Of the experiments below `folder` whose validation says "fitted", in the order of names: their
// first published figure of time and of memory beside predictions with the profiles as they are,
// and of time also with step_speed 1 where the stack has a fitted one. A run that cannot be
// predicted is left out and named in `problems`. Name, date and assumed_rate are those of the
// residuals that the experiments read.
struct ResidualRuns {
  ResidualSpec residuals;
  std::vector<std::string> problems;
};

// O(fitted runs) predictions. Throws as validate() does.
ResidualRuns residual_runs(const std::string& folder, const std::string& data_root,
                           const ValidateOptions& options);

}  // namespace orrery
