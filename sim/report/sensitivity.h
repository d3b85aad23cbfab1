// The report of sim/study/sensitivity.h.
#pragma once

#include <string>

#include "sim/study/sensitivity.h"

namespace orrery {

// A row per constant that moves some prediction, those that move the bias most first; then how many
// move none, and the names of those that cannot move.
std::string sensitivity_text(const Sensitivity& s);
// Every constant with all summaries and the changed figures.
std::string sensitivity_json(const Sensitivity& s);

}  // namespace orrery
