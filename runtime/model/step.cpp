#include "runtime/model/step.h"

#include <algorithm>

#include "sim/spec/model.h"

namespace orrery {

int64_t tokens_per_sequence(const GraphConfig& c) {
  return c.plan.sequence_length + 1 + c.model.mtp_layers;
}

Numerics numerics(const ModelSpec& m, double mtp_loss_weight) {
  Numerics n;
  const RopeSpec& r = m.rope;
  n.rope.kind = static_cast<kernels::RopeScaling::Kind>(r.kind);
  n.rope.theta = r.theta;
  n.rope.factor = r.factor;
  n.rope.beta_fast = r.beta_fast;
  n.rope.beta_slow = r.beta_slow;
  n.rope.mscale = r.mscale;
  n.rope.mscale_all_dim = r.mscale_all_dim;
  n.rope.low_freq_factor = r.low_freq_factor;
  n.rope.high_freq_factor = r.high_freq_factor;
  n.rope.attention_factor = r.attention_factor;
  n.rope.original_max_position = r.original_max_position;
  n.rope.truncate = r.truncate;
  n.rope_style = r.interleaved ? kernels::RopeStyle::kInterleaved : kernels::RopeStyle::kHalf;
  n.softmax_scale = softmax_scale(m);
  n.router = {m.experts,
              m.experts_per_token,
              m.expert_groups,
              m.top_groups,
              m.router.score == RouterScore::kSigmoid ? kernels::RouterScore::kSigmoid
                                                      : kernels::RouterScore::kSoftmax,
              m.router.norm_topk_prob,
              static_cast<float>(m.router.routed_scaling_factor)};
  n.mtp_loss_weight = mtp_loss_weight;
  return n;
}

double busiest_expert(std::span<const float> loads, int64_t experts) {
  double worst = 0;
  for (std::size_t at = 0; at < loads.size(); at += static_cast<std::size_t>(experts)) {
    double sum = 0, most = 0;
    for (const float load : loads.subspan(at, static_cast<std::size_t>(experts))) {
      sum += static_cast<double>(load);
      most = std::max(most, static_cast<double>(load));
    }
    if (sum > 0) worst = std::max(worst, most / sum * static_cast<double>(experts));
  }
  return worst;
}

int64_t sequence_position(const PlanSpec& p, int64_t context, int64_t i) {
  const int64_t ranks = p.context_parallel, length = p.sequence_length / ranks;
  if (p.context_parallel_kind == ContextParallelKind::kAllToAll || ranks == 1)
    return context * length + i;
  const int64_t chunk = length / 2;
  return i < chunk ? context * chunk + i : (2 * ranks - 1 - context) * chunk + i - chunk;
}

std::vector<PositionRun> position_runs(const PlanSpec& p, int64_t context) {
  const int64_t length = p.sequence_length / p.context_parallel;
  std::vector<PositionRun> runs = {{0, sequence_position(p, context, 0), 0}};
  for (int64_t i = 0; i < length; ++i) {
    const int64_t at = sequence_position(p, context, i);
    if (at != runs.back().position + runs.back().count) runs.push_back({i, at, 0});
    ++runs.back().count;
  }
  return runs;
}

int64_t token_of_row(const PlanSpec& p, const ExecPlan::Position& at, int64_t row) {
  const int64_t length = p.sequence_length / p.context_parallel;
  const int64_t token = row + (p.splits_rows() ? at.tensor * p.rows_per_rank() : 0);
  return token / length * p.sequence_length + sequence_position(p, at.context, token % length);
}

double loss_scale(const GraphConfig& c, const Numerics& n, int depth) {
  const auto tokens = static_cast<double>(c.plan.global_batch * c.plan.sequence_length);
  if (depth == 0) return 1 / tokens;
  return n.mtp_loss_weight / static_cast<double>(c.model.mtp_layers) / tokens;
}

}  // namespace orrery
