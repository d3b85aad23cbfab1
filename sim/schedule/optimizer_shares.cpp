#include "sim/schedule/optimizer_shares.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "sim/base/error.h"
#include "sim/graph/param_groups.h"

namespace orrery {
namespace {

// A group of weights of the stage of a chunk.
OptimizerShare share(const PlanContext& p, const RankClass& c, int chunk, int group) {
  const DataParallelSpec& dp = p.config.plan.dp;
  OptimizerShare s;
  s.chunk = chunk;
  s.stage = stage_of(c, chunk);
  s.group = group;
  const StageGraph& graph = p.graph(s.stage);
  const ParamGroup& g = graph.groups[static_cast<std::size_t>(group)];
  s.comm = g.shards > 1 ? shard_comm(p.config.plan, g.expert) : owner_comm(g.expert);
  s.params = g.params;
  s.offsets = g.offsets;
  s.elements = g.elements;
  s.matrices = g.matrices;
  s.owners = g.owners;
  s.tensor_replicated = g.tensor_replicated;
  s.tensor_summed = g.tensor_summed;
  s.shards = g.shards;
  s.gradients_sharded = dp.shards_gradients();
  s.weights_sharded = dp.shards_weights();
  s.cast_in_optimizer = p.config.stack.casts_in_optimizer &&
                        dp.optimizer == OptimizerKind::kAdamW &&
                        p.config.plan.precision == Precision::kFp8 && s.shards == 1 &&
                        !s.weights_sharded && !dp.offload_optimizer;
  for (ParamId i : g.params) {
    const Param& param = graph.params[i.v];
    if (param.gradient_written) s.written_gradients += param.count();
    s.kernel_weights += tensor_bytes(param.dtype, param.rows, param.cols);
  }
  for (ParamId i : g.params)
    if (s.stage != 0 && graph.params[i.v].name == kEmbeddingParam) s.repeated = i;
  return s;
}

int64_t moe_layers(const StageGraph& g) {
  const auto& params = g.params;
  return std::count_if(params.begin(), params.end(),
                       [](const Param& p) { return p.name == "router.bias"; });
}

// Stages of the class that hold the embedding.
int64_t embeddings(const PlanContext& p, const RankClass& c) {
  return std::count_if(c.stage_of_chunk.begin(), c.stage_of_chunk.end(), [&](int stage) {
    return p.graph(stage).find_param(kEmbeddingParam, -1).valid();
  });
}

// Bytes of StackSpec::dummy_weight_gradients: BF16, of the layers' products. (Embedding and head
// are not Transformer Engine's.)
Bytes dummy_gradients(const PlanContext& p, const RankClass& c) {
  std::set<std::pair<int64_t, int64_t>> shapes;
  for (int stage : c.stage_of_chunk) {
    const StageGraph& g = p.graph(stage);
    for (const Op& op : g.ops) {
      const bool product = op.kind == OpKind::kGemm || op.kind == OpKind::kGemmFp8Wgrad;
      if (!product || op.phase != Phase::kWeight || op.layer < 0 || !op.param.valid()) continue;
      const Param& w = g.params[op.param.v];
      shapes.insert({w.rows / w.groups, w.cols});
    }
  }
  Bytes sum{0};
  for (const auto& [rows, cols] : shapes) sum += tensor_bytes(Dtype::kBf16, rows, cols);
  return sum;
}

}  // namespace

void group_weights(const PlanContext& p, const std::vector<std::vector<int>>& stages_of_class,
                   std::vector<StageGraph>& stages) {
  const DataParallelSpec& dp = p.config.plan.dp;
  std::vector<bool> skip(stages.size(), false);
  for (std::vector<int> mine : stages_of_class) {
    std::sort(mine.begin(), mine.end());
    bool has_embedding = false;
    for (int stage : mine) {
      const bool embedding = p.graph(stage).find_param(kEmbeddingParam, -1).valid();
      if (embedding && has_embedding) skip[static_cast<std::size_t>(stage)] = true;
      has_embedding = has_embedding || embedding;
    }
  }
  if ((dp.shards_weights() || dp.shards_gradients()) &&
      std::count(skip.begin(), skip.end(), true) > 0)
    throw Infeasible(fmt::format(
        "zero_stage {} cannot split the embedding that two stages of one rank share (tied, or read "
        "by an MTP module): use zero_stage 1 or a schedule with one stage per rank",
        dp.zero_stage));
  for (std::size_t s = 0; s < stages.size(); ++s) {
    GroupRules rules;
    rules.owners = p.replicas(static_cast<int>(s), false);
    rules.expert_owners = p.replicas(static_cast<int>(s), true);
    rules.skip_embedding = skip[s];
    group_params(p.config.plan, rules, stages[s]);
    add_group_collectives(p.config, stages[s]);
  }
}

OptimizerInput optimizer_input(const PlanContext& p, const RankClass& c) {
  std::vector<int> chunks(c.stage_of_chunk.size());
  std::iota(chunks.begin(), chunks.end(), 0);
  std::sort(chunks.begin(), chunks.end(),
            [&](int a, int b) { return stage_of(c, a) < stage_of(c, b); });
  OptimizerInput in;
  bool has_embedding = false;
  for (int chunk : chunks) {
    const StageGraph& graph = p.graph(stage_of(c, chunk));
    const bool embedding = graph.find_param(kEmbeddingParam, -1).valid();
    const bool shared = embedding && !has_embedding && embeddings(p, c) < p.embedding_copies;
    for (std::size_t i = 0; i < graph.groups.size(); ++i) {
      in.shares.push_back(share(p, c, chunk, static_cast<int>(i)));
      const Param& first = graph.params[in.shares.back().params.front().v];
      in.shares.back().shared_embedding = shared && first.name == kEmbeddingParam;
    }
    if (shared) in.chunks_with_shared_embedding.push_back(chunk);
    has_embedding = has_embedding || embedding;
    const int64_t routers = moe_layers(p.graph(stage_of(c, chunk)));
    if (routers > 0 && p.config.model.router.bias) in.routers.push_back({chunk, routers});
  }
  return in;
}

void place_optimizer(const PlanContext& p, const OptimizerInput& in, RankClass& c) {
  Bytes weights{0}, gradients{0}, states{0};
  for (const OptimizerShare& s : in.shares) {
    if (!s.weights_sharded)
      for (ParamId id : s.params) {
        const Param& w = p.graph(s.stage).params[id.v];
        weights += tensor_bytes(w.dtype, w.rows, w.cols);
      }
    gradients += Bytes(held_gradient_bytes(p.config.plan) * s.held_gradients());
    states += Bytes(optimizer_state_bytes(p.config.plan, s.muon()) * s.owned());
  }
  const auto at = [](BufferKind k) { return static_cast<std::size_t>(k); };
  c.static_bytes[at(BufferKind::kWeights)] = weights;
  c.static_bytes[at(BufferKind::kGradients)] = gradients;
  (p.config.plan.dp.offload_optimizer ? c.host_bytes : c.static_bytes[at(BufferKind::kOptimizer)]) =
      states;
  if (p.config.stack.dummy_weight_gradients)
    c.static_bytes[at(BufferKind::kWorkspace)] = dummy_gradients(p, c);
  c.shares = in.shares;
}

}  // namespace orrery
