#include "sim/net/routed_rate.h"

#include <algorithm>
#include <limits>
#include <map>

#include "sim/net/flow_solver.h"

namespace orrery {
namespace {

class Flows {
 public:
  Flows(const ClusterSpec& c, const Topology& t)
      : cluster_(c), router_(t, c.topology.routing), topology_(t), solver_(capacity(t)) {}

  void add_group(const std::vector<int64_t>& ranks, TrafficPattern pattern) {
    std::map<int64_t, std::vector<int64_t>> on_node;  // local ranks
    std::vector<int64_t> order;
    for (int64_t r : ranks) {
      std::vector<int64_t>& local = on_node[r / cluster_.node.gpus];
      if (local.empty()) order.push_back(r / cluster_.node.gpus);
      local.push_back(r % cluster_.node.gpus);
    }
    const std::size_t n = order.size();
    if (n < 2) return;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t k = 1; k < (pattern == TrafficPattern::kRing ? 2 : n); ++k) {
        const std::vector<int64_t>& from = on_node[order[i]];
        const std::vector<int64_t>& to = on_node[order[(i + k) % n]];
        for (std::size_t j = 0; j < std::min(from.size(), to.size()); ++j)
          add_flow(adapter(order[i], from[j]), adapter(order[(i + k) % n], to[j]));
      }
    flows_per_rank_ = std::max(flows_per_rank_,
                               pattern == TrafficPattern::kRing ? 1.0 : static_cast<double>(n - 1));
    ranks_per_node_ =
        std::max(ranks_per_node_, static_cast<double>(ranks.size()) / static_cast<double>(n));
  }

  double rate_GBps() {
    if (solver_.flows() == 0) return std::numeric_limits<double>::infinity();
    const std::vector<double>& x = solver_.solve();
    const auto parts = static_cast<std::size_t>(router_.parts());
    double slowest = std::numeric_limits<double>::infinity();
    for (std::size_t f = 0; f < x.size(); f += parts) {
      double rate = 0;
      for (std::size_t p = 0; p < parts; ++p) rate += x[f + p];
      slowest = std::min(slowest, rate);
    }
    return slowest * flows_per_rank_ * ranks_per_node_;
  }

 private:
  static std::vector<double> capacity(const Topology& t) {
    std::vector<double> c;
    for (const TopologyLink& l : t.links) c.push_back(l.GBps);
    return c;
  }

  uint32_t adapter(int64_t node, int64_t local) const {
    return topology_.adapter(node, local * cluster_.node.nics / cluster_.node.gpus);
  }

  void add_flow(uint32_t from, uint32_t to) {
    const uint64_t flow = (static_cast<uint64_t>(from) << 32) | to;
    for (int p = 0; p < router_.parts(); ++p) solver_.add(router_.path(from, to, flow, p));
  }

  const ClusterSpec& cluster_;
  Router router_;
  const Topology& topology_;
  FlowSolver solver_;
  double flows_per_rank_ = 1, ranks_per_node_ = 1;
};

}  // namespace

bool needs_routing(const TopologySpec& t) {
  return t.kind == TopologyKind::kTorus || t.kind == TopologyKind::kEdges ||
         (t.kind != TopologyKind::kFullBisection && t.routing == Routing::kEcmp);
}

double routed_rate_GBps(const ClusterSpec& c, std::span<const std::vector<int64_t>> groups,
                        TrafficPattern pattern) {
  const Topology t = build_topology(c);
  Flows flows(c, t);
  for (const std::vector<int64_t>& g : groups) flows.add_group(g, pattern);
  return flows.rate_GBps();
}

}  // namespace orrery
