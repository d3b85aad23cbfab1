// The tokens of a run, as its TrainingSpec describes them.
#pragma once

#include <memory>
#include <optional>

#include "runtime/io/token_source.h"
#include "sim/graph/stage_builder.h"
#include "sim/spec/training.h"

namespace orrery {

class TokenFile;

class TrainingData {
 public:
  // Throws InputError: the file is missing (kNoInput), is no token file, has tokens that the model
  // has no embedding for, or is shorter than one sequence.
  TrainingData(const TrainingSpec& training, const GraphConfig& config);
  ~TrainingData();

  const TokenSource& source() const { return *source_; }
  // What the loss of a perfect model would be, where that is known.
  std::optional<double> entropy_nats() const { return entropy_nats_; }

 private:
  std::unique_ptr<TokenFile> file_;
  std::unique_ptr<TokenSource> source_;
  std::optional<double> entropy_nats_;
};

}  // namespace orrery
