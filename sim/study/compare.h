// A PyTorch/Kineto trace beside the simulation: of one overlapped pair, where it is annotated as
// DeepSeek's published profile is, or of a whole step of any program, by what its kernels' names
// say.
#pragma once

#include <string>
#include <vector>

#include "sim/import/kineto.h"
#include "sim/study/predict.h"
#include "sim/study/side_by_side.h"

namespace orrery {

// Kernels of a name that no pattern knows.
struct UnknownKernel {
  std::string name;
  double us = 0;
  int count = 0;
};

struct Comparison {
  ComparedRow total;                  // span of the pair, or the step
  std::vector<ComparedRow> segments;  // kernel time summed over layers; of a pair
  std::vector<ComparedRow> classes;   // of a pair; families of a step
  // Ops joined one to one with kernels: same segment, layer, class and position within them; of a
  // pair.
  std::vector<ComparedRow> ops;  // summed over the layers
  int joined = 0, simulated_ops = 0, measured_kernels = 0;
  std::vector<UnknownKernel> unknown;  // the longest in all first
  Timeline predicted, measured;
  SideBySide sides;
};

// Whether kernels are annotated with segments ("attn(F)", ...).
bool is_annotated_pair(const MeasuredTrace& trace);

// Simulates the pair of a forward and a backward of stage `stage` alone on its rank and joins it
// with the trace. Layers are matched by position: the n-th of each segment. Kernels of unknown
// names count as element-wise.
Comparison compare_pair(const StudySpec& study, int stage, const MeasuredTrace& trace);

// Simulates the step and compares rank `rank` with a profiled step of that rank.
Comparison compare_step(const StudySpec& study, int64_t rank, const MeasuredStep& step);

}  // namespace orrery
