// A measured trace of one overlapped pair beside the simulated one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/import/kineto.h"
#include "sim/study/predict.h"

namespace orrery {

struct ComparedRow {
  std::string name;
  double predicted_us = 0;
  double measured_us = 0;
  int predicted_count = 0, measured_count = 0;
  double error() const { return measured_us > 0 ? predicted_us / measured_us - 1 : 0; }
};

struct Comparison {
  ComparedRow total;                  // span of the pair
  std::vector<ComparedRow> segments;  // kernel time summed over layers
  std::vector<ComparedRow> classes;
  // Ops joined one to one with kernels: same segment, layer, class and position within them.
  std::vector<ComparedRow> ops;  // summed over the layers
  int joined = 0, simulated_ops = 0, measured_kernels = 0;
};

// Simulates the pair of a forward and a backward of stage `stage` alone on its rank and joins it
// with the trace. Layers are matched by position: the n-th of each segment.
Comparison compare_pair(const StudySpec& study, int stage, const MeasuredTrace& trace);

}  // namespace orrery
