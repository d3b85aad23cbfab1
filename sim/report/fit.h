// Reports of a fit of profile constants.
#pragma once

#include <string>

#include "sim/study/fit.h"

namespace orrery {

std::string fit_text(const FitSpec& spec, const FitResult& r);
std::string fit_json(const FitSpec& spec, const FitResult& r);

}  // namespace orrery
