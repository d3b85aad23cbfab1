// Reports of a validation.
#pragma once

#include <string>

#include "sim/study/validate.h"

namespace orrery {

std::string validation_text(const Validation& v);
std::string validation_json(const Validation& v);
// The accuracy table of the README.
std::string validation_markdown(const Validation& v);

}  // namespace orrery
