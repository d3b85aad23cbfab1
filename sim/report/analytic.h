// The analytic tier's bound, as text and JSON.
#pragma once

#include <string>

#include "sim/study/analytic.h"

namespace orrery {

std::string analytic_text(const StudySpec& study, const AnalyticStep& step);
// Fields named as in json_report; "fidelity" tells them apart.
std::string analytic_json(const StudySpec& study, const AnalyticStep& step);

}  // namespace orrery
