// What groups of ranks reach over a fabric that symmetry does not settle: hashed paths that collide
// (ECMP), tori, and edge lists.
#pragma once

#include <span>
#include <vector>

#include "sim/net/fabric.h"
#include "sim/net/topology.h"

namespace orrery {

// Where the closed form of fabric.h does not hold.
bool needs_routing(const TopologySpec& t);

// GB/s of a node's adapters, for `groups` (global ranks each) that all work at the same time: every
// flow is routed, all get max-min fair rates, and the slowest flow sets the pace of its collective.
// Rings send from each node to the next, pairs from each node to each other one, rank by rank to
// the adapter of the like rank; rank r of a node uses adapter r · nics / gpus. The result is per
// rank of a node, times the ranks of a group on it. Infinite when no flow leaves a node.
// O(flows · path · rounds); flows: adapters of a ring, times the nodes of a group for pairs.
double routed_rate_GBps(const ClusterSpec& c, std::span<const std::vector<int64_t>> groups,
                        TrafficPattern pattern);

}  // namespace orrery
