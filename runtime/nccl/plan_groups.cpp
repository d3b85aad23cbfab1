#include "runtime/nccl/plan_groups.h"

#include <cstring>
#include <map>

#include "runtime/nccl/nccl_group.h"

namespace orrery {
namespace {

constexpr auto kSetUpTime = std::chrono::minutes(3);

// All groups of more than one rank, in the order in which every rank makes its own.
std::vector<OpGroup> all_groups(const ExecPlan& plan) {
  std::vector<OpGroup> groups;
  std::map<std::string, bool> seen;
  for (const RankClass& c : plan.classes)
    for (int64_t replica = 0; replica < c.multiplicity; ++replica)
      for (std::size_t k = 0; k < c.communicators.size(); ++k) {
        OpGroup g = op_group(plan, c.first_rank + replica, static_cast<int>(k));
        if (g.ranks.size() > 1 && !std::exchange(seen[g.name], true))
          groups.push_back(std::move(g));
      }
  return groups;
}

// Each group's id, made by its first rank, known to all.
std::map<std::string, ncclUniqueId> exchange_ids(const std::vector<OpGroup>& groups,
                                                 Bootstrap& bootstrap, Deadline deadline) {
  std::string mine;
  for (const OpGroup& g : groups) {
    if (g.ranks.front() != bootstrap.rank()) continue;
    const ncclUniqueId id = make_nccl_id();
    mine.append(id.internal, sizeof id.internal);
  }
  const std::vector<std::string> all = bootstrap.all_gather(mine, deadline);
  std::map<std::string, ncclUniqueId> ids;
  std::vector<std::size_t> next(all.size(), 0);
  for (const OpGroup& g : groups) {
    const auto leader = static_cast<std::size_t>(g.ranks.front());
    ncclUniqueId& id = ids[g.name];
    std::memcpy(id.internal, all[leader].data() + next[leader], sizeof id.internal);
    next[leader] += sizeof id.internal;
  }
  return ids;
}

}  // namespace

CollectiveGroups connect_groups(const ExecPlan& plan, Bootstrap& bootstrap) {
  const int64_t rank = bootstrap.rank();
  const RankClass& c = plan.classes[plan.place(rank).rank_class];
  CollectiveGroups all(c.communicators.size());
  if (bootstrap.size() == 1) return all;
  check_nccl_version();
  const Deadline deadline = after(kSetUpTime);
  const std::vector<OpGroup> groups = all_groups(plan);
  const auto ids = exchange_ids(groups, bootstrap, deadline);
  std::map<std::string, std::size_t> communicator;
  for (std::size_t k = 0; k < c.communicators.size(); ++k)
    communicator[op_group(plan, rank, static_cast<int>(k)).name] = k;
  for (const OpGroup& g : groups) {
    const auto at = std::find(g.ranks.begin(), g.ranks.end(), rank);
    if (at == g.ranks.end()) continue;
    auto group =
        std::make_unique<NcclGroup>(g.name, ids.at(g.name), static_cast<int>(g.ranks.size()),
                                    static_cast<int>(at - g.ranks.begin()), deadline);
    group->warm_up(deadline);
    all[communicator.at(g.name)] = std::move(group);
  }
  bootstrap.barrier(deadline);
  return all;
}

}  // namespace orrery
