// What a checkpoint says beside its arrays: where the training stands, and of which model and
// layout the arrays are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/json_reader.h"
#include "sim/graph/stage_builder.h"
#include "sim/spec/training.h"

namespace orrery {

struct TrainingPosition {
  int64_t step = 0;            // done
  uint64_t next_sequence = 0;  // of the data
};

// Text of a JSON object: "experiment", "next_sequence", "seed", and the objects "model", "layout"
// (both decide what the arrays mean) and "data".
std::string training_state_json(const std::string& experiment, const GraphConfig& config,
                                const TrainingSpec& training, const TrainingPosition& position);

struct StateDifferences {
  std::vector<std::string> model_or_layout;  // the arrays cannot be used
  std::vector<std::string> data;             // the training can go on, but not as it would have
};
// "model/hidden: the checkpoint has 256, this run has 64".
StateDifferences compare_states(const json::Node& saved, const json::Node& ours);

}  // namespace orrery
