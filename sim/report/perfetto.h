// Chrome/Kineto JSON that ui.perfetto.dev opens: one process per rank class, one thread per stream,
// a memory counter. Slices of a track never overlap.
#pragma once

#include <string>

#include "sim/study/predict.h"

namespace orrery {

// Needs a prediction made with PredictOptions::record.
std::string chrome_trace(const Prediction& p);

}  // namespace orrery
