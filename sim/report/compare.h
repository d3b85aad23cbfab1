// Reports of a comparison with a PyTorch/Kineto trace.
#pragma once

#include <string>

#include "sim/study/compare.h"

namespace orrery {

// `what` says of the trace which part of it was taken: "step 3 of steps 2 to 5", or "".
std::string comparison_text(const Comparison& c, const std::string& what, int top);
std::string comparison_json(const Comparison& c);

}  // namespace orrery
