// JSON text of a parsed value.
#pragma once

#include <string>

#include "sim/base/json_reader.h"

namespace orrery::json {

// Two-space indentation, members in their order, a line break at the end. Numbers come back as the
// same value.
std::string to_text(const Node& node);

}  // namespace orrery::json
