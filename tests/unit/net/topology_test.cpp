#include "sim/net/topology.h"

#include <set>

#include "sim/net/flow_solver.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

using namespace orrery;

namespace {

ClusterSpec cluster(TopologyKind kind, int64_t nodes, int64_t nics = 4) {
  ClusterSpec c;
  c.nodes = nodes;
  c.node.nics = nics;
  c.node.nic_GBps.value = 50;
  c.nic_effective_GBps.value = 50;
  c.latency_us.value = 4;
  c.topology.kind = kind;
  c.topology.nodes_per_leaf = 4;
  return c;
}

// Slowest of equal flows from each node to the one `shift` further, each adapter to its like.
double shifted_GBps(const Topology& t, Routing routing, int64_t nodes, int64_t shift) {
  Router r(t, routing);
  std::vector<double> capacity;
  for (const TopologyLink& l : t.links) capacity.push_back(l.GBps);
  FlowSolver s(capacity);
  for (int64_t n = 0; n < nodes; ++n)
    for (int64_t i = 0; i < t.nics; ++i)
      for (int p = 0; p < r.parts(); ++p) {
        const uint32_t from = t.adapter(n, i);
        s.add(r.path(from, t.adapter((n + shift) % nodes, i), from, p));
      }
  const std::vector<double>& x = s.solve();
  double slowest = 1e9;
  const auto parts = static_cast<std::size_t>(r.parts());
  for (std::size_t f = 0; f < x.size(); f += parts) {
    double rate = 0;
    for (std::size_t p = 0; p < parts; ++p) rate += x[f + p];
    slowest = std::min(slowest, rate);
  }
  return slowest;
}

}  // namespace

TEST_CASE("A fat tree has the bisection that its oversubscription leaves", "[net]") {
  // 16 nodes of 4 x 50 GB/s, 4 leaves: 8 nodes against 8, 1600 GB/s; a half and a quarter of it.
  ClusterSpec c = cluster(TopologyKind::kFatTree, 16);
  CHECK(bisection_GBps(build_topology(c), 16) == Approx(1600));
  c.topology.leaf_oversubscription = 2;
  CHECK(bisection_GBps(build_topology(c), 16) == Approx(800));
  c.topology.leaves_per_pod = 2;
  c.topology.pod_oversubscription = 2;
  CHECK(bisection_GBps(build_topology(c), 16) == Approx(400));
}

TEST_CASE("Adaptive routing reaches what the layers allow, ECMP collides", "[net]") {
  ClusterSpec c = cluster(TopologyKind::kFatTree, 16);
  const Topology full = build_topology(c);
  CHECK(shifted_GBps(full, Routing::kAdaptive, 16, 4) == Approx(50));
  CHECK(shifted_GBps(full, Routing::kEcmp, 16, 4) <= 25);
  c.topology.leaf_oversubscription = 4;
  CHECK(shifted_GBps(build_topology(c), Routing::kAdaptive, 16, 4) == Approx(12.5));
  // Inside the leaf nothing is lost.
  CHECK(shifted_GBps(build_topology(c), Routing::kAdaptive, 4, 1) == Approx(50));
}

TEST_CASE("Rails and planes keep like adapters on one switch", "[net]") {
  const Topology rails = build_topology(cluster(TopologyKind::kRailOptimized, 8));
  Router r(rails, Routing::kEcmp);
  CHECK(r.path(rails.adapter(0, 2), rails.adapter(3, 2), 0).size() == 2);
  CHECK(r.path(rails.adapter(0, 2), rails.adapter(3, 1), 0).size() == 4);
  CHECK(r.path(rails.adapter(0, 2), rails.adapter(5, 2), 0).size() == 4);
  const Topology planes = build_topology(cluster(TopologyKind::kMultiPlane, 8));
  Router p(planes, Routing::kEcmp);
  CHECK(p.path(planes.adapter(0, 2), planes.adapter(7, 2), 0).size() == 4);
  CHECK(testing::failure_of([&] {
          p.path(planes.adapter(0, 2), planes.adapter(7, 1), 0);
        }).message.find("no path from n0.2 to n7.1") != std::string::npos);
}

TEST_CASE("A torus splits a node's rate over its directions", "[net]") {
  ClusterSpec c = cluster(TopologyKind::kTorus, 16);
  c.topology.torus = {4, 4, 1};
  const Topology t = build_topology(c);
  // 4 adapters of 50 GB/s over 4 directions: 50 each. Halves of 8 nodes: 4 columns, 2 links each.
  CHECK(bisection_GBps(t, 16) == Approx(400));
  Router r(t, Routing::kEcmp);
  CHECK(r.path(t.adapter(0, 0), t.adapter(10, 0), 0).size() == 2 + 4);
  // A neighbour's four flows share one link.
  CHECK(shifted_GBps(t, Routing::kEcmp, 16, 1) < 50);
}

TEST_CASE("Paths are shortest, and the same flow takes the same one", "[net]") {
  ClusterSpec c = cluster(TopologyKind::kFatTree, 32);
  c.topology.leaves_per_pod = 2;
  const Topology t = build_topology(c);
  Router r(t, Routing::kEcmp), again(t, Routing::kEcmp);
  std::set<std::vector<uint32_t>> seen;
  for (uint64_t flow = 0; flow < 64; ++flow) {
    const auto path = r.path(0, t.adapter(31, 0), flow);
    CHECK(path.size() == 6);  // adapter, leaf, spine, core and down again
    CHECK(path == again.path(0, t.adapter(31, 0), flow));
    seen.insert(path);
  }
  CHECK(seen.size() > 8);
}

TEST_CASE("An edge list is read, and all that is wrong with it reported", "[net]") {
  const testing::TemporaryDirectory dir;
  testing::write(dir.file("good.txt"), "# two nodes\nn0.0 s 50 1.5\nn1.0 s 25\n");
  const Topology t = read_edge_list(dir.file("good.txt"), 2, 1);
  CHECK(t.links.size() == 4);
  CHECK(bisection_GBps(t, 2) == Approx(25));
  testing::write(dir.file("bad.txt"), "n0.0 s\nn0.0 n0.0 50\nn7.0 s 50\nn0.0 s -3\n");
  const std::string e =
      testing::failure_of([&] { read_edge_list(dir.file("bad.txt"), 2, 1); }).message;
  CHECK(e.find("bad.txt:1") != std::string::npos);
  CHECK(e.find("linked to itself") != std::string::npos);
  CHECK(e.find("expected n0.0 to n1.0") != std::string::npos);
  CHECK(e.find("found -3 GB/s") != std::string::npos);
}
