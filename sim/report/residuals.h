// Residuals as a file of hardware_profiles/residuals/.
#pragma once

#include <string>

#include "sim/spec/residuals.h"

namespace orrery {

// Ratios with four decimals, one run a line.
std::string residuals_json(const ResidualSpec& s);

}  // namespace orrery
