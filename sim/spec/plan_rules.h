// The rules of check_plan, by subject. Each function appends a sentence for every rule that does
// not hold, naming all the fields that take part in it.
#pragma once

#include <string>
#include <vector>

#include "sim/spec/plan.h"

namespace orrery {

// Two chunks on each rank, one of either half of the pipeline.
inline bool has_v_shape(ScheduleKind s) {
  return s == ScheduleKind::kZbV || s == ScheduleKind::kDualPipeV;
}

// What is split over which ranks: sizes, layers, experts, heads, sequences.
void check_layout(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c,
                  std::vector<std::string>& out);
// What a micro-batch goes through: the schedule, precision, overlap and recomputation.
void check_passes(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c,
                  std::vector<std::string>& out);
// Where weights, gradients, optimizer states and activations are: data parallelism, the optimizer,
// host memory.
void check_states(const PlanSpec& p, const ClusterSpec& c, std::vector<std::string>& out);

}  // namespace orrery
