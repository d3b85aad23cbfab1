// The fabric of a cluster as a graph: adapters, switches and the links between them, and the paths
// that flows take.
//
// Built with Boost.Graph from a TopologySpec (or an edge list file), then frozen to arrays.
//   fat tree     leaf: `nodes_per_leaf` nodes with all their adapters; an uplink of an adapter's
//                rate to each of  rate down / oversubscription / adapter rate  spines; with pods,
//                spine i of every pod joins the same core switches, the same way
//   rails        leaf i of a pod of `nodes_per_leaf` nodes: adapter i of each of them
//   planes       plane i: a fat tree over the adapters i; planes are not connected
//   torus        a router per node, one link a direction and dimension; the node's adapter rate is
//                split evenly over them
// Every cable is two directed links. Routing is by shortest paths (hops). Of several next hops a
// flow takes one by a hash (ECMP), or is spread over all of them (adaptive): then it is
// `kSpray` parts, each with a path of its own. Ignored: virtual channels, deadlock avoidance,
// congestion control's transients, and failures.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sim/spec/cluster.h"

namespace orrery {

struct TopologyLink {
  uint32_t from = 0, to = 0;  // vertices
  double GBps = 0;
  double latency_us = 0;
};

// Vertices 0 .. adapters-1 are the adapters (node · nics + i), the others switches.
struct Topology {
  int64_t nics = 0;  // per node
  uint32_t adapters = 0;
  std::vector<std::string> names;    // of the vertices
  std::vector<TopologyLink> links;   // in order of `from`
  std::vector<uint32_t> first_link;  // of a vertex; one more at the end
  std::vector<uint32_t> reverse;     // links by `to`
  std::vector<uint32_t> first_reverse;

  uint32_t vertices() const { return static_cast<uint32_t>(names.size()); }
  uint32_t adapter(int64_t node, int64_t nic) const {
    return static_cast<uint32_t>(node * nics + nic);
  }
};

// Throws InputError when an edge list file cannot be read or does not connect. Full bisection gives
// one switch with all adapters. O(links).
Topology build_topology(const ClusterSpec& c);

// The edge list of a file: lines "from to GBps [latency_us]", both directions; "#" begins a
// comment. Adapters are called n<node>.<nic>, every other name is a switch. All errors at once,
// with file:line.
Topology read_edge_list(const std::string& path, int64_t nodes, int64_t nics);

// GB/s between the two halves of the nodes, lower numbers against higher: the maximum flow, all
// adapters of a half together, one direction. Push-relabel.
double bisection_GBps(const Topology& t, int64_t nodes);

class Router {
 public:
  static constexpr int kSpray = 16;  // parts of a flow that is spread

  Router(const Topology& t, Routing routing) : topology_(t), routing_(routing) {}

  // Links from one adapter to another, by their numbers, for part `part` of flow `flow`; empty when
  // they are the same. `flow` seeds the hash. Throws Infeasible when there is no path. The first
  // path to a destination costs a breadth-first search, O(links).
  std::vector<uint32_t> path(uint32_t from, uint32_t to, uint64_t flow, int part = 0);
  int parts() const { return routing_ == Routing::kAdaptive ? kSpray : 1; }

 private:
  const std::vector<uint16_t>& distances(uint32_t to);

  const Topology& topology_;
  Routing routing_;
  std::vector<std::vector<uint16_t>> distance_;  // to each adapter once asked for
};

}  // namespace orrery
