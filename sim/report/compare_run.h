// Reports of a comparison with a step that was run.
#pragma once

#include <string>

#include "sim/study/compare_run.h"

namespace orrery {

std::string run_comparison_text(const RunComparison& c);
std::string run_comparison_json(const RunComparison& c);

}  // namespace orrery
