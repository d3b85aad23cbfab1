#include "sim/graph/param_groups.h"

#include <algorithm>
#include <limits>

#include "sim/graph/muon.h"

namespace orrery {
namespace {

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

constexpr int16_t kNoUnit = std::numeric_limits<int16_t>::max();

// The lowest unit that uses each parameter.
std::vector<int16_t> first_units(const StageGraph& g) {
  std::vector<int16_t> unit(g.params.size(), kNoUnit);
  for (const Op& op : g.ops)
    for (ParamId p : {op.param, op.bias})
      if (p.valid()) unit[p.v] = std::min(unit[p.v], op.unit);
  return unit;
}

class Grouping {
 public:
  Grouping(const PlanSpec& plan, const GroupRules& rules, StageGraph& g)
      : plan_(plan), rules_(rules), g_(g), unit_(first_units(g)) {
    for (uint32_t i = 0; i < g.params.size(); ++i) {
      const Param& p = g.params[i];
      const bool embedding = p.name == kEmbeddingParam;
      if (!p.trained || (embedding && rules.skip_embedding)) continue;
      const bool apart = embedding || (ends_together(plan) && of_head(i));
      (apart && !whole() ? apart_ : p.expert ? experts_ : dense_).push_back({i});
    }
  }

  void run() {
    g_.groups.clear();
    if (ends_together(plan_) && !apart_.empty())
      add(apart_);
    else
      for (ParamId p : apart_) add({p});
    for (const std::vector<ParamId>* all : {&dense_, &experts_}) {
      if (plan_.dp.by_unit())
        units(*all);
      else if (plan_.dp.by_bucket())
        buckets(*all);
      else if (plan_.dp.optimizer == OptimizerKind::kMuon)
        muon(*all);
      else if (!all->empty())
        add(*all);
    }
    if (!whole())
      std::stable_sort(g_.groups.begin(), g_.groups.end(),
                       [](const auto& a, const auto& b) { return a.first_unit < b.first_unit; });
  }

 private:
  bool of_head(uint32_t param) const {
    return g_.find(SegmentKind::kHeadF, unit_[param]) != nullptr;
  }

  bool whole() const { return !plan_.dp.by_unit() && !plan_.dp.by_bucket(); }

  // What the ranks of a tensor-parallel group have of a weight.
  enum class TensorRole : uint8_t { kSummed, kReplicated, kOwn };

  TensorRole role_of(ParamId id) const {
    const Param& w = g_.params[id.v];
    if (w.tensor_summed) return TensorRole::kSummed;
    const bool replicated =
        !w.expert && plan_.tensor_parallel > 1 && w.shard.axis == ShardAxis::kNone;
    return replicated ? TensorRole::kReplicated : TensorRole::kOwn;
  }

  // `matrices`: of Muon, one of those that the parameters are made of.
  void add(const std::vector<ParamId>& params, MatrixStack matrices = {}) {
    ParamGroup group;
    group.expert = g_.params[params.front().v].expert;
    group.owners = group.expert ? rules_.expert_owners : rules_.owners;
    group.shards = shards_of(plan_, group.expert, group.owners);
    group.first_unit = kNoUnit;
    const auto append = [&](TensorRole role) {
      for (ParamId p : params) {
        if (role_of(p) != role) continue;
        group.params.push_back(p);
        group.offsets.push_back(group.elements);
        group.elements += round_up(g_.params[p.v].count(), matrices.empty() ? kShareAlignment : 1);
        group.first_unit = std::min(group.first_unit, unit_[p.v]);
      }
      return group.elements;
    };
    group.tensor_summed = append(TensorRole::kSummed);
    group.tensor_replicated = append(TensorRole::kReplicated);
    append(TensorRole::kOwn);
    if (!matrices.empty()) {
      group.matrices = {matrices.rows, matrices.cols, group.elements / matrices.elements_of_one()};
      group.elements = round_up(group.elements, kShareAlignment);
    } else {
      group.elements = round_up(group.elements, group.shards * kShareAlignment);
    }
    g_.groups.push_back(std::move(group));
  }

  // What AdamW updates, then the matrices of each size in the order in which the sizes appear.
  void muon(const std::vector<ParamId>& all) {
    std::vector<ParamId> rest;
    std::vector<std::pair<MatrixStack, std::vector<ParamId>>> sizes;
    for (ParamId p : all) {
      const Param& w = g_.params[p.v];
      if (!is_muon_matrix(w)) {
        rest.push_back(p);
        continue;
      }
      const MatrixStack m = matrices_of(w);
      auto at = std::find_if(sizes.begin(), sizes.end(), [&](const auto& s) {
        return s.first.rows == m.rows && s.first.cols == m.cols;
      });
      if (at == sizes.end()) at = sizes.insert(at, {m, {}});
      at->second.push_back(p);
    }
    if (!rest.empty()) add(rest);
    for (const auto& [one, params] : sizes) add(params, one);
  }

  void units(const std::vector<ParamId>& all) {
    for (int16_t u = 0; u < g_.units; ++u) {
      std::vector<ParamId> mine;
      std::copy_if(all.begin(), all.end(), std::back_inserter(mine),
                   [&](ParamId p) { return unit_[p.v] == u; });
      if (!mine.empty()) add(mine);
    }
  }

  // From the last weights back, as their gradients become ready.
  void buckets(const std::vector<ParamId>& all) {
    const int64_t size = plan_.dp.bucket_parameters > 0
                             ? plan_.dp.bucket_parameters
                             : std::max<int64_t>(40'000'000, 1'000'000 * rules_.owners);
    std::vector<ParamId> order = all;
    std::stable_sort(order.begin(), order.end(),
                     [&](ParamId a, ParamId b) { return unit_[a.v] < unit_[b.v]; });
    std::vector<ParamId> bucket;
    int64_t elements = 0;
    for (auto p = order.rbegin(); p != order.rend(); ++p) {
      bucket.push_back(*p);
      elements += g_.params[p->v].count();
      if (elements < size) continue;
      add(bucket);
      bucket.clear();
      elements = 0;
    }
    if (!bucket.empty()) add(bucket);
  }

  const PlanSpec& plan_;
  const GroupRules& rules_;
  StageGraph& g_;
  std::vector<int16_t> unit_;
  std::vector<ParamId> dense_, experts_, apart_;
};

}  // namespace

bool ends_together(const PlanSpec& plan) {
  return plan.dp.one_unit_for_ends && plan.dp.by_unit() && plan.pipeline_parallel == 1;
}

int64_t shards_of(const PlanSpec& plan, bool expert, int64_t owners) {
  if (!plan.dp.shards_states()) return 1;
  if (plan.dp.shard_group == 0) return owners;
  if (!expert) return plan.dp.shard_group;
  return plan.dp.shard_group * plan.tensor_parallel / plan.expert_ranks();
}

bool writes_gradient(const Op& op) {
  switch (op.kind) {
    case OpKind::kEmbeddingBackward:
    case OpKind::kPositionsBackward:
    case OpKind::kRmsNormReduce:
    case OpKind::kLayerNormReduce:
    case OpKind::kBiasBackward:
    case OpKind::kGemmFp8Wgrad:
      return true;
    case OpKind::kGemm:
      return op.layout == GemmLayout::kTN;
    case OpKind::kAttentionBackward:  // of its sinks
      return op.param.valid();
    default:
      return false;
  }
}

bool reads_weight(const Op& op) {
  return op.kind == OpKind::kAttentionBackward || !writes_gradient(op);
}

CommKind shard_comm(const PlanSpec& plan, bool expert) {
  if (plan.dp.shard_group == 0) return owner_comm(expert);
  return expert ? CommKind::kExpertShard : CommKind::kShard;
}

CommKind owner_comm(bool expert) { return expert ? CommKind::kExpertData : CommKind::kData; }

CommKind replica_comm(bool expert) {
  return expert ? CommKind::kExpertReplica : CommKind::kReplica;
}

void group_params(const PlanSpec& plan, const GroupRules& rules, StageGraph& g) {
  Grouping(plan, rules, g).run();
}

}  // namespace orrery
