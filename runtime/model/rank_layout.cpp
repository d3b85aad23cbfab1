#include "runtime/model/rank_layout.h"

#include <fmt/format.h>

#include <algorithm>

namespace orrery {

RankLayout::RankLayout(const ExecPlan& plan, int64_t rank)
    : plan_(plan), rank_(rank), place_(plan.place(rank)), position_(plan.position(place_.replica)) {
  for (const StageGraph& g : plan.stages) places_.emplace_back(g.params.size());
  place_shares();
  place_buffers();
}

void RankLayout::place_shares() {
  const RankClass& c = rank_class();
  for (std::size_t i = 0; i < c.shares.size(); ++i) {
    const OptimizerShare& s = c.shares[i];
    for (std::size_t p = 0; p < s.params.size(); ++p)
      places_[static_cast<std::size_t>(s.stage)][s.params[p].v] = {static_cast<int>(i),
                                                                   s.offsets[p]};
    owners_.push_back(0);
    for (std::size_t k = 0; k < c.communicators.size(); ++k) {
      const Communicator& comm = c.communicators[k];
      if (comm.kind != s.comm || comm.key != static_cast<uint32_t>(s.stage)) continue;
      owners_.back() = op_group(plan_, rank_, static_cast<int>(k)).position;
    }
  }
  // An embedding that the rank holds in another chunk.
  const ParamPlace* embedding = nullptr;
  for (int stage : c.stage_of_chunk) {
    const ParamId id =
        plan_.stages[static_cast<std::size_t>(stage)].find_param(kEmbeddingParam, -1);
    if (id.valid() && find(stage, id).share >= 0) embedding = &find(stage, id);
  }
  for (int stage : c.stage_of_chunk) {
    const ParamId id =
        plan_.stages[static_cast<std::size_t>(stage)].find_param(kEmbeddingParam, -1);
    if (id.valid()) places_[static_cast<std::size_t>(stage)][id.v] = *embedding;
  }
}

int RankLayout::share_of(int stage, int64_t group) const {
  const auto& shares = rank_class().shares;
  const auto s = std::find_if(shares.begin(), shares.end(), [&](const OptimizerShare& x) {
    return x.stage == stage && x.group == group;
  });
  return static_cast<int>(s - shares.begin());
}

int64_t RankLayout::buffer(int64_t elements) {
  const int64_t at = buffer_elements_;
  buffer_elements_ += elements;
  return at;
}

void RankLayout::place_buffers() {
  for (int stage : rank_class().stage_of_chunk) {
    const auto& params = plan_.stages[static_cast<std::size_t>(stage)].params;
    auto& places = places_[static_cast<std::size_t>(stage)];
    const int64_t loads = buffer_elements_;
    for (std::size_t i = 0; i < params.size(); ++i)
      if (params[i].name == "router.load") places[i] = {-1, buffer(params[i].count())};
    loads_.push_back({loads, buffer_elements_ - loads});
    int depth = 0;
    for (std::size_t i = 0; i < params.size(); ++i) {
      if (params[i].trained || params[i].name == "router.load") continue;
      places[i] = {-1, buffer(params[i].count())};
      if (params[i].name == "loss") losses_.push_back({depth++, places[i].offset});
    }
  }
}

ShardRange owned_part(const OpShape& op, const RankLayout& layout) {
  const int64_t mine = layout.owned(static_cast<int>(op.index)).elements;
  const int64_t first = std::min(op.first, mine);
  return {first, std::min(op.m, mine - first)};
}

OpGroup op_group(const ExecPlan& plan, int64_t rank, int communicator) {
  const ExecPlan::Place at = plan.place(rank);
  const Communicator& c =
      plan.classes[at.rank_class].communicators[static_cast<std::size_t>(communicator)];
  OpGroup g;
  g.ranks = plan.members(c, at.replica);
  g.position = std::find(g.ranks.begin(), g.ranks.end(), rank) - g.ranks.begin();
  g.name = fmt::format("{} {}.{}", kCommKindNames[static_cast<std::size_t>(c.kind)], c.key,
                       plan.group_of(c, at.replica));
  return g;
}

}  // namespace orrery
