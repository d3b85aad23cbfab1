#include "sim/net/fabric.h"

#include <algorithm>
#include <vector>

#include "sim/base/casts.h"

namespace orrery {
namespace {

// Calls f(value, how many) for each value of a sorted list.
template <class F>
void for_each_run(std::span<const int64_t> sorted, F f) {
  for (std::size_t i = 0; i < sorted.size();) {
    const std::size_t begin = i;
    while (i < sorted.size() && sorted[i] == sorted[begin]) ++i;
    f(sorted[begin], static_cast<int64_t>(i - begin));
  }
}

// The part of consecutive pairs (the last with the first) or of all pairs in different places.
double crossing(std::span<const int64_t> nodes, int64_t per_place, TrafficPattern pattern) {
  const auto n = static_cast<int64_t>(nodes.size());
  if (n < 2 || per_place <= 0) return 0;
  if (pattern == TrafficPattern::kRing) {
    int64_t cross = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i)
      cross += nodes[i] / per_place != nodes[(i + 1) % nodes.size()] / per_place;
    return d(cross) / d(n);
  }
  std::vector<int64_t> places;
  for (int64_t node : nodes) places.push_back(node / per_place);
  std::sort(places.begin(), places.end());
  int64_t apart = 0;
  for_each_run(places, [&](int64_t, int64_t count) { apart += count * (n - count); });
  return d(apart) / d(n * (n - 1));
}

}  // namespace

FabricCrossing fabric_crossing(const TopologySpec& t, std::span<const int64_t> nodes,
                               TrafficPattern pattern) {
  return {crossing(nodes, t.nodes_per_leaf, pattern),
          crossing(nodes, t.nodes_per_leaf * t.leaves_per_pod, pattern)};
}

double fabric_rate(const TopologySpec& t, double line_GBps, const FabricCrossing& x) {
  double rate = line_GBps;
  if (x.leaf > 0) rate = std::min(rate, line_GBps / t.leaf_oversubscription / x.leaf);
  if (x.pod > 0)
    rate = std::min(rate, line_GBps / t.leaf_oversubscription / t.pod_oversubscription / x.pod);
  return rate;
}

GroupLinks group_links(const ClusterSpec& c, std::span<const int64_t> ranks, TrafficPattern pattern,
                       FabricCrossing* crossing) {
  std::vector<int64_t> sorted(ranks.begin(), ranks.end()), nodes;
  if (!std::is_sorted(sorted.begin(), sorted.end())) std::sort(sorted.begin(), sorted.end());
  for (int64_t& r : sorted) r /= c.node.gpus;
  int64_t fullest = 1;
  for_each_run(sorted, [&](int64_t node, int64_t members) {
    nodes.push_back(node);
    fullest = std::max(fullest, members);
  });
  GroupLinks l;
  l.nodes = std::max<int64_t>(1, static_cast<int64_t>(nodes.size()));
  l.ranks = l.nodes * fullest;
  l.gpu_GBps = c.node.nvlink_effective_GBps.value;
  l.network_GBps = c.network_per_gpu().count() / 1e9 * d(fullest);
  const FabricCrossing x = fabric_crossing(c.topology, nodes, pattern);
  l.network_GBps = fabric_rate(c.topology, l.network_GBps, x);
  if (crossing != nullptr) *crossing = x;
  l.network_latency_us = c.latency_us.value;
  l.local = c.node.links == GpuLinks::kPcie ? LinkType::kPcie : LinkType::kNvlink;
  l.architecture = c.node.gpu.architecture;
  l.multicast = c.node.links == GpuLinks::kNvswitch && l.architecture >= GpuArchitecture::kHopper;
  return l;
}

}  // namespace orrery
