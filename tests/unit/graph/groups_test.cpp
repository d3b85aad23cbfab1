// The replicas of a group, as arithmetic has them, are those with its number.
#include <set>

#include "sim/graph/exec_plan.h"
#include "tests/catch.h"

using namespace orrery;

namespace {

struct Layout {
  int64_t tensor, context, data, expert, expert_tensor, shard_group;
};

ExecPlan plan_of(const Layout& l) {
  ExecPlan p;
  p.tensor_parallel = l.tensor;
  p.context_parallel = l.context;
  p.expert_parallel = l.expert;
  p.expert_tensor_parallel = l.expert_tensor;
  p.shard_group = l.shard_group;
  return p;
}

}  // namespace

TEST_CASE("The replicas of every group are those with its number", "[graph]") {
  const Layout layouts[] = {
      {1, 1, 1, 1, 1, 1},  {1, 1, 8, 1, 1, 1},  {1, 1, 16, 4, 1, 1}, {2, 1, 8, 4, 1, 1},
      {4, 2, 4, 8, 2, 1},  {2, 3, 4, 3, 2, 1},  {1, 4, 4, 2, 4, 1},  {8, 1, 2, 2, 2, 1},
      {1, 1, 16, 1, 1, 4}, {2, 2, 8, 2, 2, 4},  {1, 1, 24, 3, 1, 6}, {4, 1, 8, 2, 1, 2},
      {2, 4, 6, 4, 2, 8},  {1, 2, 12, 4, 1, 8},
  };
  for (const Layout& l : layouts) {
    CAPTURE(l.tensor, l.context, l.data, l.expert, l.expert_tensor, l.shard_group);
    const ExecPlan p = plan_of(l);
    const int64_t replicas = l.tensor * l.context * l.data;
    REQUIRE(replicas % p.experts() == 0);
    for (int k = 1; k < kCommKinds; ++k) {
      const auto kind = static_cast<CommKind>(k);
      CAPTURE(kCommKindNames[k]);
      const Communicator c{kind, 0, 0};
      for (int64_t r = 0; r < replicas; ++r) {
        std::set<int64_t> same, found;
        for (int64_t other = 0; other < replicas; ++other)
          if (p.group_of(c, other) == p.group_of(c, r)) same.insert(other);
        const ExecPlan::Replicas g = p.group_replicas(kind, r);
        for (int64_t n = 0, at = g.first; n < g.count && at < replicas; ++n, at += g.step)
          found.insert(at);
        CHECK(found == same);
        CHECK(found.count(r) == 1);
      }
    }
  }
}
