// How a model is trained: data, optimizer, learning rate, checkpoints. The cost of a step does not
// depend on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sim/base/json_reader.h"

namespace orrery {

// kSynthetic: a random Markov chain over the vocabulary in which every token has `branching`
// equally likely successors, so that the loss can fall to ln(branching) and no further.
// kTokens: a file of token ids.
enum class DataKind : uint8_t { kSynthetic, kTokens };
extern const std::string_view kDataNames[2];  // "synthetic", "tokens"

struct DataSpec {
  DataKind kind = DataKind::kSynthetic;
  int64_t branching = 4;  // kSynthetic
  int64_t seed = 1234;    // kSynthetic; of the chain, by default that of the run
  std::string path;       // kTokens
};

enum class LrSchedule : uint8_t { kConstant, kCosine, kWsd };
extern const std::string_view kLrScheduleNames[3];  // "constant", "cosine", "wsd"

// AdamW as PyTorch has it, weight decay decoupled; the norm clipped is that of all gradients. Muon
// shares lr and weight_decay: its step is scaled to the size of AdamW's.
struct OptimizerSpec {
  double lr = 3e-4;      // the peak
  double min_lr = 3e-5;  // by default lr / 10
  int64_t warmup_steps = 0;
  LrSchedule schedule = LrSchedule::kCosine;
  // Steps over which lr falls to min_lr. kCosine: right after the warm-up, by default all that
  // remain. kWsd: the last ones, by default a fifth of those after the warm-up.
  int64_t decay_steps = 1000;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double momentum = 0.95;  // Muon's
  double weight_decay = 0.1;
  double max_grad_norm = 1;  // 0: no clipping
};

struct CheckpointSpec {
  int64_t every = 0;  // steps; 0: none are written
  int64_t keep = 2;   // the newest ones; 0: all
  std::string folder;
};

struct TrainingSpec {
  int64_t steps = 1000;
  int64_t seed = 1234;  // of the initial weights
  DataSpec data;
  OptimizerSpec optimizer;
  double router_bias_update_rate =
      0.001;                     // gamma of arXiv 2412.19437; models with RouterSpec::bias
  double mtp_loss_weight = 0.3;  // lambda of arXiv 2412.19437; models with mtp_layers
  CheckpointSpec checkpoint;
  int64_t log_every = 10;  // steps

  // Learning rate of update `step`, which counts from 1. With w = warmup_steps and d = decay_steps:
  // lr * step / w up to step w, then
  //   constant: lr
  //   cosine:   min_lr + (lr - min_lr) * (1 + cos(pi * t)) / 2, t = min(1, (step - w) / d)
  //   wsd:      lr + (min_lr - lr) * t, t = (step - (steps - d)) / d clamped to [0, 1]
  double lr_at(int64_t step) const;
};

// Reads the member "training" of an experiment; all its keys are optional. A path is relative to
// the file that has it, or to the working directory when it comes from the command line; whether
// it exists is not checked, since a prediction does not need it.
TrainingSpec read_training(const json::Node& node, const std::string& pointer,
                           Diagnostics& diagnostics);

}  // namespace orrery
