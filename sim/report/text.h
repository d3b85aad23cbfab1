// The human-readable report of a prediction.
#pragma once

#include <string>

#include "sim/study/predict.h"

namespace orrery {

std::string text_report(const Prediction& p);

}  // namespace orrery
