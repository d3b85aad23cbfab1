// Reports of a comparison with a step that was run, and of two that were.
#pragma once

#include <string>

#include "sim/report/side_by_side.h"
#include "sim/study/compare_run.h"

namespace orrery {

// `title` says what is compared. Where ops have no counterpart, the text ends with these.
std::string run_comparison_text(const std::string& title, const RunComparison& c,
                                const Sides& sides, int top);
std::string run_comparison_json(const RunComparison& c, const Sides& sides);

}  // namespace orrery
