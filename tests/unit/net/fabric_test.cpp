#include "sim/net/fabric.h"

#include <numeric>

#include "tests/catch.h"

using namespace orrery;

namespace {

TopologySpec two_layers(int64_t nodes_per_leaf, double oversubscription) {
  TopologySpec t;
  t.kind = TopologyKind::kFatTree;
  t.nodes_per_leaf = nodes_per_leaf;
  t.leaf_oversubscription = oversubscription;
  return t;
}

std::vector<int64_t> nodes(int64_t n, int64_t stride = 1) {
  std::vector<int64_t> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(i * stride);
  return v;
}

ClusterSpec h100s(int64_t n) {
  ClusterSpec c;
  c.node.nvlink_effective_GBps.value = 370;
  c.node.nic_GBps.value = 50;
  c.nic_effective_GBps.value = 47;
  c.nodes = n;
  return c;
}

}  // namespace

TEST_CASE("A ring leaves a leaf once, a strided one at every step", "[net]") {
  const TopologySpec t = two_layers(4, 3);
  // 8 nodes on 2 leaves: 2 of 8 edges cross.
  CHECK(fabric_crossing(t, nodes(8), TrafficPattern::kRing).leaf == Approx(0.25));
  CHECK(fabric_crossing(t, nodes(8, 4), TrafficPattern::kRing).leaf == 1);
  CHECK(fabric_crossing(t, nodes(4), TrafficPattern::kRing).leaf == 0);
  // A third of the bandwidth goes up: enough for a quarter of the traffic, not for all.
  CHECK(fabric_rate(t, 300, {0.25, 0}) == 300);
  CHECK(fabric_rate(t, 300, {1, 0}) == Approx(100));
}

TEST_CASE("Of all pairs of 8 nodes on 2 leaves, 4 of 7 peers are on the other", "[net]") {
  const FabricCrossing x = fabric_crossing(two_layers(4, 3), nodes(8), TrafficPattern::kPairs);
  CHECK(x.leaf == Approx(4.0 / 7));
  CHECK(fabric_rate(two_layers(4, 3), 300, x) == Approx(175));
}

TEST_CASE("Pods multiply the oversubscription below them", "[net]") {
  TopologySpec t = two_layers(2, 1);
  t.leaves_per_pod = 2;
  t.pod_oversubscription = 7;
  const FabricCrossing x = fabric_crossing(t, nodes(8, 4), TrafficPattern::kRing);
  CHECK(x.pod == 1);
  CHECK(fabric_rate(t, 350, x) == Approx(50));
  CHECK(fabric_rate(t, 350, fabric_crossing(t, nodes(4), TrafficPattern::kRing)) == 350);
}

TEST_CASE("Links of groups by where their ranks are", "[net]") {
  const ClusterSpec c = h100s(8);
  std::vector<int64_t> all(16);
  std::iota(all.begin(), all.end(), 0);
  const GroupLinks two_nodes = group_links(c, all, TrafficPattern::kRing);
  CHECK(two_nodes.nodes == 2);
  CHECK(two_nodes.per_node() == 8);
  CHECK(two_nodes.network_GBps == Approx(376));
  CHECK(two_nodes.multicast);
  const std::vector<int64_t> strided = {3, 11, 19, 27};
  const GroupLinks rail = group_links(c, strided, TrafficPattern::kRing);
  CHECK(rail.nodes == 4);
  CHECK(rail.per_node() == 1);
  CHECK(rail.network_GBps == Approx(47));
}
