// Reports of a comparison with a measured trace.
#pragma once

#include <string>

#include "sim/study/compare.h"

namespace orrery {

std::string comparison_text(const Comparison& c);
std::string comparison_json(const Comparison& c);

}  // namespace orrery
