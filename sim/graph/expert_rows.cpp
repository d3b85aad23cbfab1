// How many rows a rank's experts get.
#include <algorithm>
#include <cmath>

#include "sim/graph/stage_builder.h"

namespace orrery {

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
  r.expanded += (gathered - 1) * (r.expanded - r.local_experts * 64);
  // A token reaches the experts of `top_groups` groups; a rank holds `local_experts` of them. Where
  // a rank holds several groups, the choice counts as one among all experts.
  const int64_t group = m.experts / m.expert_groups;
  const int64_t reachable = r.local_experts <= group ? group * m.top_groups : m.experts;
  double miss = 1;  // that a given rank among them holds none of the k chosen experts
  for (int64_t i = 0; i < r.local_experts; ++i)
    miss *= std::max(
        0.0, 1.0 - static_cast<double>(m.experts_per_token) / static_cast<double>(reachable - i));
  const double distinct =
      static_cast<double>(reachable) / static_cast<double>(r.local_experts) * (1 - miss);
  r.arrived = static_cast<int64_t>(static_cast<double>(tokens) * distinct + 0.5);
  r.gathered = r.arrived * gathered;
  const int64_t nodes = (c.plan.expert_ranks() + c.gpus_per_node - 1) / c.gpus_per_node;
  r.nodes_per_token = std::min(nodes, m.experts_per_token);
  if (c.plan.max_nodes_per_token > 0)
    r.nodes_per_token = std::min(r.nodes_per_token, c.plan.max_nodes_per_token);
  return r;
}

}  // namespace orrery
