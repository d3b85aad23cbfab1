// Shortest paths and cuts, by Boost.Graph on the frozen topology.
#include <fmt/format.h>

#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/breadth_first_search.hpp>
#include <boost/graph/compressed_sparse_row_graph.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>

#include "sim/base/error.h"
#include "sim/net/topology.h"

namespace orrery {
namespace {

constexpr uint16_t kUnreached = UINT16_MAX;

// SplitMix64.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// The links backwards.
using Backwards = boost::compressed_sparse_row_graph<boost::directedS>;

Backwards backwards(const Topology& t) {
  std::vector<std::pair<uint32_t, uint32_t>> edges;
  edges.reserve(t.links.size());
  for (uint32_t l : t.reverse) edges.emplace_back(t.links[l].to, t.links[l].from);
  return Backwards(boost::edges_are_sorted, edges.begin(), edges.end(), t.vertices());
}

}  // namespace

const std::vector<uint16_t>& Router::distances(uint32_t to) {
  if (distance_.empty()) distance_.resize(topology_.adapters);
  std::vector<uint16_t>& d = distance_[to];
  if (!d.empty()) return d;
  d.assign(topology_.vertices(), kUnreached);
  d[to] = 0;
  const Backwards g = backwards(topology_);
  boost::breadth_first_search(g, to,
                              boost::visitor(boost::make_bfs_visitor(
                                  boost::record_distances(d.data(), boost::on_tree_edge()))));
  return d;
}

std::vector<uint32_t> Router::path(uint32_t from, uint32_t to, uint64_t flow, int part) {
  std::vector<uint32_t> path;
  if (from == to) return path;
  const std::vector<uint16_t>& d = distances(to);
  if (d[from] == kUnreached)
    throw Infeasible(fmt::format("no path from {} to {} in the topology", topology_.names[from],
                                 topology_.names[to]));
  uint64_t spread = static_cast<uint64_t>(part);
  for (uint32_t at = from; at != to;) {
    uint64_t choices = 0;
    const auto closer = [&](uint32_t l) { return d[topology_.links[l].to] + 1 == d[at]; };
    for (uint32_t l = topology_.first_link[at]; l < topology_.first_link[at + 1]; ++l)
      choices += closer(l);
    // A spread flow's parts go round the choices from where the flow's hash begins.
    uint64_t pick = (mix(flow ^ (static_cast<uint64_t>(at) << 32)) + spread) % choices;
    if (parts() > 1) spread /= choices;
    for (uint32_t l = topology_.first_link[at];; ++l) {
      if (!closer(l) || pick-- > 0) continue;
      path.push_back(l);
      at = topology_.links[l].to;
      break;
    }
  }
  return path;
}

double bisection_GBps(const Topology& t, int64_t nodes) {
  using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
  using Graph = boost::adjacency_list<
      boost::vecS, boost::vecS, boost::directedS, boost::no_property,
      boost::property<
          boost::edge_capacity_t, int64_t,
          boost::property<boost::edge_residual_capacity_t, int64_t,
                          boost::property<boost::edge_reverse_t, Traits::edge_descriptor>>>>;
  constexpr double kMega = 1e3;  // MB/s, so that capacities are whole
  Graph g(t.vertices() + 2);
  const uint32_t source = t.vertices(), sink = source + 1;
  auto capacity = get(boost::edge_capacity, g);
  auto reverse = get(boost::edge_reverse, g);
  const auto connect = [&](uint32_t a, uint32_t b, int64_t c) {
    const auto there = add_edge(a, b, g).first, back = add_edge(b, a, g).first;
    capacity[there] = c;
    capacity[back] = 0;
    reverse[there] = back;
    reverse[back] = there;
  };
  int64_t total = 0;
  for (const TopologyLink& l : t.links) {
    connect(l.from, l.to, std::llround(l.GBps * kMega));
    total += std::llround(l.GBps * kMega);
  }
  for (uint32_t a = 0; a < t.adapters; ++a) {
    if (static_cast<int64_t>(a) / t.nics < nodes / 2)
      connect(source, a, total);
    else
      connect(a, sink, total);
  }
  return static_cast<double>(push_relabel_max_flow(g, source, sink)) / kMega;
}

}  // namespace orrery
