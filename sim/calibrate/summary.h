// Errors of a class of kernels in a few numbers.
#pragma once

#include "sim/calibrate/calibrate.h"

namespace orrery {

enum class Part : uint8_t { kAll, kFitted, kHeldOut };

struct ClassErrors {
  std::size_t count = 0;
  double median = 0, largest = 0;  // of |predicted / measured - 1|
  double bias = 0;                 // mean of predicted / measured - 1
  double rms_ln = 0;               // root mean square of ln(predicted / measured)
};

// `of_base`: of the predictions with the base profile's constants.
ClassErrors summarise(const ClassFit& f, const Measured& m, Part part, bool of_base = false);

}  // namespace orrery
