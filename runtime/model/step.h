// What a training step needs beside the plan, and what it yields; the same for every backend.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/moe/router_config.h"
#include "kernels/rope/rope_table.h"
#include "runtime/io/token_source.h"
#include "sim/graph/exec_plan.h"
#include "sim/graph/stage_builder.h"

namespace orrery {

// The global batch of a step: consecutive sequences of a source.
struct StepTokens {
  const TokenSource* source = nullptr;
  uint64_t first_sequence = 0;
};

// Tokens of a sequence that a step reads: a label for the last position of every head.
int64_t tokens_per_sequence(const GraphConfig& c);

// Hyper-parameters of one optimizer step (PyTorch's AdamW; `momentum` is Muon's).
struct OptimizerStep {
  int64_t step = 1;  // from 1
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1;
  double momentum = 0.95;
  double max_grad_norm = 1;  // 0: no clipping
  double router_bias_rate = 0.001;
};

struct StepResult {
  std::vector<double> losses;  // mean over the batch's tokens of each head, trunk first
  double grad_norm = 0;        // before clipping
  // The busiest expert's tokens over the mean, in the worst of the MoE layers of this rank whose
  // routers are balanced; 0: it has none.
  double expert_load = 0;
};

// Of `layers` routers, loads [layers, experts]; 0 when nothing was routed.
double busiest_expert(std::span<const float> loads, int64_t experts);

// Constants of the model in the form that kernels take them.
struct Numerics {
  kernels::RopeScaling rope;
  kernels::RopeStyle rope_style = kernels::RopeStyle::kHalf;
  double softmax_scale = 1;
  kernels::RouterConfig router;
  double mtp_loss_weight = 0.3;
};
Numerics numerics(const ModelSpec& m, double mtp_loss_weight);

// Rows of an expert are padded to whole tiles, so that no 128-row scale tile has two experts.
constexpr int64_t kExpertRowAlignment = 128;

// Where token `i` of a sequence's part on rank `context` of the context-parallel group is in the
// sequence (ContextParallelKind).
int64_t sequence_position(const PlanSpec& p, int64_t context, int64_t i);

// Runs of consecutive positions in that part: elements [first, first + count) from `position` on.
struct PositionRun {
  int64_t first, position, count;
};
std::vector<PositionRun> position_runs(const PlanSpec& p, int64_t context);

// The token of a row of a rank's residual stream: sequence of the micro-batch x sequence_length +
// position.
int64_t token_of_row(const PlanSpec& p, const ExecPlan::Position& at, int64_t row);

// Factor of the gradient of each token's loss at the head of that depth: the mean over the batch,
// MTP heads weighted by λ / depth count (DeepSeek-V3, arXiv 2412.19437, equation 25).
double loss_scale(const GraphConfig& c, const Numerics& n, int depth);

}  // namespace orrery
