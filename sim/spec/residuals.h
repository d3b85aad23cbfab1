// How far predictions were from the published runs that constants may be fitted on: the data from
// which intervals are estimated (sim/study/spread.h). hardware_profiles/residuals/published_runs
// holds those of experiments/validation; an experiment may name another file as its "residuals".
// `orrery validate --residuals FILE` writes such a file.
#pragma once

#include <string>
#include <vector>

#include "sim/spec/provenance.h"

namespace orrery {

// One figure of one run. Ratios are natural logarithms of published over predicted, of the step's
// time or of the highest peak of memory: positive when the run took more than was predicted.
struct RunResidual {
  std::string run;            // "mlperf/..."
  std::string stack;          // residual_stack() of its experiment
  std::string gpu;            // name of the GPU's profile; "" for memory
  double ln_ratio = 0;        // with the profiles' constants
  double ln_unfitted = 0;     // with the stack's step_speed left at 1, its prior
  bool stack_fitted = false;  // the stack has a step_speed that was fitted
};

struct ResidualSpec {
  std::string name;
  std::string reference;  // which runs, and the command that made the file
  std::string date;
  std::vector<RunResidual> time, memory;
  // Standard deviation of ln(rate) of kernels whose rate constant is assumed, on a GPU that no run
  // of the data was on.
  Sourced assumed_rate;
};

ResidualSpec read_residuals(json::Reader r);

}  // namespace orrery
