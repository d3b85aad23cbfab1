#include "sim/schedule/optimizer_shares.h"

#include <algorithm>
#include <numeric>

namespace orrery {
namespace {

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// The dense (or expert) weights of a chunk; `skip_embedding` when the rank has it in another one.
OptimizerShare share(const PlanContext& p, const RankClass& c, int chunk, bool expert,
                     bool skip_embedding) {
  OptimizerShare s;
  s.chunk = chunk;
  s.stage = stage_of(c, chunk);
  s.comm = expert ? CommKind::kExpertData : CommKind::kData;
  s.owners = p.replicas(s.stage) / (expert ? p.config.plan.expert_parallel : 1);
  s.shards = p.config.plan.zero_stage == 0 ? 1 : s.owners;
  const std::vector<Param>& params = p.graph(s.stage).params;
  for (uint32_t i = 0; i < params.size(); ++i) {
    const Param& w = params[i];
    if (w.expert != expert || !w.trained) continue;
    if (w.name == kEmbeddingParam) {
      if (skip_embedding) continue;
      if (s.stage != 0) s.repeated = {i};
    }
    s.params.push_back({i});
    s.offsets.push_back(s.elements);
    s.elements += round_up(w.count(), kShareAlignment);
  }
  s.elements = round_up(s.elements, s.shards * kShareAlignment);
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

}  // namespace

OptimizerInput optimizer_input(const PlanContext& p, const RankClass& c) {
  std::vector<int> chunks(c.stage_of_chunk.size());
  std::iota(chunks.begin(), chunks.end(), 0);
  std::sort(chunks.begin(), chunks.end(),
            [&](int a, int b) { return stage_of(c, a) < stage_of(c, b); });
  OptimizerInput in;
  bool has_embedding = false;
  for (int chunk : chunks) {
    for (bool expert : {false, true}) {
      OptimizerShare s = share(p, c, chunk, expert, has_embedding);
      if (!s.params.empty()) in.shares.push_back(std::move(s));
    }
    const bool embedding = p.graph(stage_of(c, chunk)).find_param(kEmbeddingParam, -1).valid();
    if (embedding && !has_embedding && embeddings(p, c) < p.embedding_copies)
      in.chunks_with_shared_embedding.push_back(chunk);
    has_embedding = has_embedding || embedding;
    const int64_t routers = moe_layers(p.graph(stage_of(c, chunk)));
    if (routers > 0 && p.config.model.router.bias) in.routers.push_back({chunk, routers});
  }
  return in;
}

void place_optimizer(const PlanContext& p, const OptimizerInput& in, RankClass& c) {
  Bytes weights{0}, gradients{0}, states{0};
  for (const OptimizerShare& s : in.shares) {
    for (ParamId id : s.params) {
      const Param& w = p.graph(s.stage).params[id.v];
      weights += tensor_bytes(w.dtype, w.rows, w.cols);
    }
    gradients += Bytes(4 * s.elements);
    states += Bytes(optimizer_state_bytes(p.config.plan) * s.owned());
  }
  const auto at = [](BufferKind k) { return static_cast<std::size_t>(k); };
  c.static_bytes[at(BufferKind::kWeights)] = weights;
  c.static_bytes[at(BufferKind::kGradients)] = gradients;
  c.static_bytes[at(BufferKind::kOptimizer)] = states;
  c.shares = in.shares;
}

}  // namespace orrery
