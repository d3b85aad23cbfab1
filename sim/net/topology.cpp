#include "sim/net/topology.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/net/topology_build.h"

namespace orrery {
namespace {

int64_t at_least_one(double x) { return std::max<int64_t>(1, std::llround(std::ceil(x - 1e-9))); }

class TreeBuilder {
 public:
  explicit TreeBuilder(const ClusterSpec& c)
      : spec_(c.topology),
        nodes_(c.nodes),
        nics_(c.node.nics),
        rate_(c.nic_effective_GBps.value),
        // An end-to-end path is two adapter links at least; longer ones are not told apart by the
        // cluster's one latency.
        latency_(c.latency_us.value / 2),
        build_(c.nodes, c.node.nics) {}

  Topology build() {
    switch (spec_.kind) {
      case TopologyKind::kFatTree:
        tree("", all_nics(), spec_.leaves_per_pod);
        break;
      case TopologyKind::kRailOptimized:
        rails();
        break;
      case TopologyKind::kMultiPlane:
        for (int64_t i = 0; i < nics_; ++i)
          tree(fmt::format("plane{}.", i), {i}, spec_.leaves_per_pod);
        break;
      case TopologyKind::kTorus:
        torus();
        break;
      default: {
        const uint32_t all = build_.add_switch("fabric");
        for (uint32_t a = 0; a < static_cast<uint32_t>(nodes_ * nics_); ++a)
          build_.cable(a, all, rate_, latency_);
      }
    }
    return build_.freeze();
  }

 private:
  std::vector<int64_t> all_nics() const {
    std::vector<int64_t> v;
    for (int64_t i = 0; i < nics_; ++i) v.push_back(i);
    return v;
  }

  uint32_t leaf(const std::string& name, int64_t first_node, const std::vector<int64_t>& nics) {
    const uint32_t s = build_.add_switch(name);
    for (int64_t n = first_node; n < std::min(nodes_, first_node + spec_.nodes_per_leaf); ++n)
      for (int64_t i : nics) build_.cable(build_.so_far().adapter(n, i), s, rate_, latency_);
    return s;
  }

  // Joins the leaves of each pod by spines, and the pods by cores.
  void join(const std::string& prefix, const std::vector<uint32_t>& leaves, int64_t per_pod,
            int64_t ports_down) {
    const auto count = static_cast<int64_t>(leaves.size());
    if (count < 2) return;
    if (per_pod <= 0 || per_pod > count) per_pod = count;
    const int64_t spines =
        at_least_one(static_cast<double>(ports_down) / spec_.leaf_oversubscription);
    std::vector<std::vector<uint32_t>> pods;
    for (int64_t first = 0; first < count; first += per_pod) {
      std::vector<uint32_t>& pod = pods.emplace_back();
      for (int64_t s = 0; s < spines; ++s) {
        pod.push_back(
            build_.add_switch(fmt::format("{}pod{}.spine{}", prefix, pods.size() - 1, s)));
        for (int64_t l = first; l < std::min(count, first + per_pod); ++l)
          build_.cable(leaves[static_cast<std::size_t>(l)], pod.back(), rate_, 0);
      }
    }
    if (pods.size() < 2) return;
    const int64_t cores = at_least_one(static_cast<double>(per_pod) / spec_.pod_oversubscription);
    for (int64_t s = 0; s < spines; ++s)
      for (int64_t k = 0; k < cores; ++k) {
        const uint32_t core = build_.add_switch(fmt::format("{}core{}.{}", prefix, s, k));
        for (const auto& pod : pods) build_.cable(pod[static_cast<std::size_t>(s)], core, rate_, 0);
      }
  }

  void tree(const std::string& prefix, const std::vector<int64_t>& nics, int64_t per_pod) {
    std::vector<uint32_t> leaves;
    for (int64_t n = 0; n < nodes_; n += spec_.nodes_per_leaf)
      leaves.push_back(leaf(fmt::format("{}leaf{}", prefix, leaves.size()), n, nics));
    join(prefix, leaves, per_pod, spec_.nodes_per_leaf * static_cast<int64_t>(nics.size()));
  }

  void rails() {
    std::vector<uint32_t> leaves;
    for (int64_t n = 0; n < nodes_; n += spec_.nodes_per_leaf)
      for (int64_t i = 0; i < nics_; ++i)
        leaves.push_back(leaf(fmt::format("su{}.rail{}", n / spec_.nodes_per_leaf, i), n, {i}));
    join("", leaves, spec_.leaves_per_pod * nics_, spec_.nodes_per_leaf);
  }

  void torus() {
    int64_t dims = 0;
    for (int64_t d : spec_.torus) dims += d > 1;
    const double rate = rate_ * static_cast<double>(nics_) / static_cast<double>(2 * dims);
    std::vector<uint32_t> routers;
    for (int64_t n = 0; n < nodes_; ++n) {
      routers.push_back(build_.add_switch(fmt::format("router{}", n)));
      for (int64_t i = 0; i < nics_; ++i)
        build_.cable(build_.so_far().adapter(n, i), routers.back(), rate_, latency_);
    }
    int64_t stride = 1;
    for (int64_t d : spec_.torus) {
      for (int64_t n = 0; d > 1 && n < nodes_; ++n) {
        const int64_t at = n / stride % d;
        const int64_t next = n + ((at + 1) % d - at) * stride;
        build_.cable(routers[static_cast<std::size_t>(n)], routers[static_cast<std::size_t>(next)],
                     rate, 0);
      }
      stride *= d;
    }
  }

  const TopologySpec& spec_;
  int64_t nodes_, nics_;
  double rate_, latency_;
  TopologyBuilder build_;
};

}  // namespace

Topology build_topology(const ClusterSpec& c) {
  if (c.topology.kind == TopologyKind::kEdges)
    return read_edge_list(c.topology.edges, c.nodes, c.node.nics);
  return TreeBuilder(c).build();
}

}  // namespace orrery
