// How many rows a rank's experts get.
#include <algorithm>
#include <cmath>

#include "sim/graph/stage_builder.h"

namespace orrery {
namespace {

// How many of the ranks (or nodes) that hold `held` experts each a token goes to. It chooses among
// the experts of `top_groups` groups; where one holds several groups, among all.
double distinct_holders(const ModelSpec& m, int64_t held) {
  const int64_t group = m.experts / m.expert_groups;
  const int64_t reachable = held <= group ? group * m.top_groups : m.experts;
  double miss = 1;  // that a given one of them holds none of the k chosen experts
  for (int64_t i = 0; i < held; ++i)
    miss *= std::max(
        0.0, 1.0 - static_cast<double>(m.experts_per_token) / static_cast<double>(reachable - i));
  return static_cast<double>(reachable) / static_cast<double>(held) * (1 - miss);
}

int64_t rounded(int64_t tokens, double each) {
  return static_cast<int64_t>(static_cast<double>(tokens) * each + 0.5);
}

}  // namespace

ExpertRows expert_rows(const GraphConfig& c) {
  ExpertRows r;
  if (c.model.experts == 0) return r;
  const ModelSpec& m = c.model;
  const int64_t tokens = c.plan.rows_per_rank();
  const int64_t ranks = c.plan.expert_parallel;
  const int64_t gathered = c.plan.expert_tensor_parallel;
  r.local_experts = m.experts / ranks;
  r.expanded = tokens * m.experts_per_token + r.local_experts * 64;
  if (m.router.capacity_factor > 0) {
    const double share = m.router.capacity_factor * static_cast<double>(tokens) *
                         static_cast<double>(m.experts_per_token) / static_cast<double>(m.experts);
    const int64_t most = r.local_experts * ranks * static_cast<int64_t>(std::ceil(share));
    r.expanded = m.router.pad_to_capacity ? most : std::min(r.expanded, most);
  }
  const int64_t own = r.expanded;
  r.expanded += (gathered - 1) * (r.expanded - r.local_experts * 64);
  r.arrived = rounded(tokens, distinct_holders(m, r.local_experts));
  r.gathered = r.arrived * gathered;
  const int64_t nodes = (c.plan.expert_ranks() + c.gpus_per_node - 1) / c.gpus_per_node;
  r.sent = rounded(tokens, distinct_holders(m, m.experts / nodes));
  if (c.plan.max_nodes_per_token > 0)
    r.sent = tokens * std::min({nodes, m.experts_per_token, c.plan.max_nodes_per_token});
  if (c.stack.token_dispatch == TokenDispatch::kPerExpert && ranks > 1) {
    r.sent = m.router.pad_to_capacity ? own : std::min(tokens * m.experts_per_token, own);
    r.arrived = r.sent;
    r.gathered = r.arrived * gathered;
  }
  return r;
}

}  // namespace orrery
