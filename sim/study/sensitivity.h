// How the errors of `orrery validate` move when a constant of the profiles does: every constant
// whose source is fitted, measured or assumed, a tenth up and a tenth down, one at a time.
//
// A constant is an object with a source in a file of hardware_profiles/; it moves in every case
// that reads it from there, also through "extends". An object of several numbers (a latency of each
// algorithm) moves as a whole. Ignored: constants that move together, and what a choice between
// kernels or stacks would change.
#pragma once

#include "sim/study/validate.h"

namespace orrery {

struct MovedConstant {
  std::string name;    // "gpu/h100_sxm5: gemm_bf16/mainloop_efficiency"
  std::string source;  // "fitted", ...
  int cases = 0;       // that read it
  // Down, up. `problem`: why it cannot move there ("" when it can), a fraction over 1 say; the
  // summaries are then empty.
  struct Side {
    std::string problem;
    std::vector<ErrorSummary> time, memory;  // as Validation's, all cases
    std::vector<ValidationResult> changed;   // figures with another prediction than the base
  };
  Side side[2];
};

struct Sensitivity {
  Validation base;
  std::vector<MovedConstant> constants;  // in the order of names
};

struct SensitivityOptions {
  ValidateOptions validate;
  std::string only;  // constants whose name contains it; "": all
};

constexpr double kMove = 0.1;

// O(cases · constants that a case reads) predictions; those whose ops all keep their time are not
// simulated again. Throws as validate() does.
Sensitivity sensitivity(const std::string& folder, const std::string& data_root,
                        SensitivityOptions options);

}  // namespace orrery
