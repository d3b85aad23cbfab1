// What a group of ranks sees of the machine: the rates of collective.h's GroupLinks from a cluster,
// where the members are and the fabric between the nodes.
//
// Fabric by symmetry: every group of the same kind works at the same time, as in training, so that
// each GPU may count on its share of the uplinks of its leaf and of its pod:
//   up = rate of the node's adapters / oversubscription
// Of a collective's network traffic the fraction f crosses the layer: of a ring's edges between
// nodes those that join different leaves, of an all-to-all's pairs of nodes those that do. The
// layer then allows up / f, and the smallest of the layers counts. Exact for adaptive routing in
// fat trees, rails and planes, where traffic stays in its rail; topology.h routes other fabrics
// link by link. Ignored: nodes that the job does not use.
#pragma once

#include <span>

#include "sim/net/collectives/collective.h"
#include "sim/spec/cluster.h"

namespace orrery {

// How a collective spreads over the nodes.
enum class TrafficPattern : uint8_t {
  kRing,   // each node to the next
  kPairs,  // each to each
};

// The part of the traffic between nodes that leaves a leaf, and that leaves a pod.
struct FabricCrossing {
  double leaf = 0;
  double pod = 0;
};

// `nodes`: those of the group, each once, in the order of its ranks. O(nodes).
FabricCrossing fabric_crossing(const TopologySpec& t, std::span<const int64_t> nodes,
                               TrafficPattern pattern);

// GB/s that a node's adapters reach through the fabric when the fraction `crossing` of their
// traffic takes the upper layers; `line` without them.
double fabric_rate(const TopologySpec& t, double line_GBps, const FabricCrossing& crossing);

// Links of the group of the given global ranks (rank r is GPU r % gpus of node r / gpus).
// Groups of unequal parts count as if each node had as many as the fullest.
// O(ranks) when they ascend; a ring passes them in that order.
GroupLinks group_links(const ClusterSpec& c, std::span<const int64_t> ranks, TrafficPattern pattern,
                       FabricCrossing* crossing = nullptr);

}  // namespace orrery
