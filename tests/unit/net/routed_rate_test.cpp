#include "sim/net/routed_rate.h"

#include "tests/catch.h"

using namespace orrery;

namespace {

ClusterSpec routed_cluster(TopologyKind kind, int64_t nodes) {
  ClusterSpec c;
  c.nodes = nodes;
  c.node.gpus = c.node.nics = 4;
  c.nic_effective_GBps.value = 50;
  c.topology.kind = kind;
  c.topology.nodes_per_leaf = 4;
  return c;
}

// Groups of all ranks of `nodes` consecutive nodes.
std::vector<std::vector<int64_t>> groups(int64_t count, int64_t nodes) {
  std::vector<std::vector<int64_t>> g;
  for (int64_t i = 0; i < count; ++i) {
    g.emplace_back();
    for (int64_t r = 0; r < nodes * 4; ++r) g.back().push_back(i * nodes * 4 + r);
  }
  return g;
}

}  // namespace

TEST_CASE("With adaptive routing the routed rate is the closed form's", "[net]") {
  // 4 leaves of 4 nodes, uplinks for half: a ring over all 16 crosses with every fourth edge, which
  // half of the bandwidth carries; all pairs cross with 12 of 15 and get 100 / 0.8 of 200 GB/s.
  ClusterSpec c = routed_cluster(TopologyKind::kFatTree, 16);
  c.topology.leaf_oversubscription = 2;
  const auto all = groups(1, 16);
  CHECK(routed_rate_GBps(c, all, TrafficPattern::kRing) == Approx(200));
  const double pairs = routed_rate_GBps(c, all, TrafficPattern::kPairs);
  CHECK(pairs == Approx(group_links(c, all[0], TrafficPattern::kPairs).network_GBps).epsilon(0.02));
}

TEST_CASE("Hashed paths collide, and fewer do inside a leaf", "[net]") {
  ClusterSpec c = routed_cluster(TopologyKind::kFatTree, 16);
  c.topology.routing = Routing::kEcmp;
  CHECK(needs_routing(c.topology));
  CHECK(routed_rate_GBps(c, groups(1, 16), TrafficPattern::kRing) <= 200);
  CHECK(routed_rate_GBps(c, groups(1, 16), TrafficPattern::kPairs) < 200);
  CHECK(routed_rate_GBps(c, groups(4, 4), TrafficPattern::kPairs) == Approx(200));
}

TEST_CASE("Neighbours on a torus reach one link, and groups share it", "[net]") {
  ClusterSpec c = routed_cluster(TopologyKind::kTorus, 8);
  c.topology.torus = {8, 1, 1};
  // A ring of nodes: 2 directions of 100 GB/s; every node sends to the next over one link.
  CHECK(routed_rate_GBps(c, groups(1, 8), TrafficPattern::kRing) == Approx(100));
  CHECK(std::isinf(routed_rate_GBps(c, groups(8, 1), TrafficPattern::kRing)));
}
