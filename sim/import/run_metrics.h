// The metrics of a training run (metrics.jsonl of `orrery run --out`), as far as a prediction is
// compared with them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace orrery {

struct RunMetrics {
  // Median of the steps but the first, which warms up, and the last, which is the traced one;
  // nullopt: there are no others.
  std::optional<double> step_us;
  int steps = 0;            // of which it is the median
  int64_t peak_bytes = -1;  // held by rank 0 in the last step; -1: not said
};

// One JSON object a line. Missing file: InputError with kNoInput; a line without a step time:
// InputError that names it.
RunMetrics read_run_metrics(const std::string& path);

}  // namespace orrery
