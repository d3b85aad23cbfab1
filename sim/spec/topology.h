// The fabric between nodes: which switches there are and how much of the nodes' bandwidth each
// layer carries. Without one in the cluster file the fabric is taken as full bisection, so that
// only the ports of the GPUs and adapters limit.
#pragma once

#include <array>
#include <string>

#include "sim/spec/provenance.h"

namespace orrery {

enum class TopologyKind : uint8_t {
  kFullBisection,
  kFatTree,        // all adapters of a node on one leaf; leaves on spines; with pods a third layer
  kRailOptimized,  // adapter i of each node of a pod on leaf i
  kMultiPlane,     // adapter i of every node in plane i, a fat tree of its own; planes never meet
  kTorus,          // nodes on a torus, adapters shared by its directions
  kEdges,          // an edge list file (sim/net/edge_list.h)
};
extern const std::array<std::string_view, 6> kTopologyNames;

// How a flow picks one of several shortest paths.
enum class Routing : uint8_t {
  kAdaptive,  // spread over all of them, packet by packet
  kEcmp,      // one of them, by a hash of the flow
};
extern const std::array<std::string_view, 2> kRoutingNames;

struct TopologySpec {
  TopologyKind kind = TopologyKind::kFullBisection;
  Routing routing = Routing::kAdaptive;
  int64_t nodes_per_leaf = 0;  // rail-optimised: nodes of a pod, each with one adapter on a leaf
  int64_t leaves_per_pod = 0;  // 0: two layers
  double leaf_oversubscription = 1;  // bandwidth down over bandwidth up
  double pod_oversubscription = 1;
  std::array<int64_t, 3> torus = {1, 1, 1};
  std::string edges;  // path
};

// "topology" of a cluster file. `nodes` and `nics` (per node) are for cross-checks.
TopologySpec read_topology(json::Reader r, int64_t nodes, int64_t nics);

}  // namespace orrery
