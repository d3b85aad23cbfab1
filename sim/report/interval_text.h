// Intervals in the human-readable report; "" where a prediction has none.
#pragma once

#include <string>

#include "sim/study/predict.h"

namespace orrery {

// "(90 %: 15.2 to 19.6)" of a figure that is proportional to the step's time, or inversely so.
std::string time_range(const Prediction& p, double figure, bool inverse, int decimals);
// Lines that say what an interval rests on, and its width by cause.
std::string interval_basis(const char* of, const std::optional<FigureInterval>& i);
// Of the highest peak of memory.
std::string peak_range(const Prediction& p);
// Of phases: GPU-hours or dollars that were simulated, and those that are only bounds, without an
// upper end.
std::string hours_range(const Prediction& p, double simulated, double bound);
std::string cost_range(const Prediction& p, double simulated, double bound);

}  // namespace orrery
