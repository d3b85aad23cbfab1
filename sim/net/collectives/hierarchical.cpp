#include "sim/net/collectives/hierarchical.h"

#include <algorithm>

#include "sim/base/casts.h"

namespace orrery {
namespace {

// That k experts drawn from `all` miss `taken` of them.
double all_missed(double all, double taken, int64_t k) {
  double p = 1;
  for (int64_t i = 0; i < k; ++i) p *= std::max(0.0, all - taken - d(i)) / (all - d(i));
  return p;
}

// That exactly j of `drawn` groups are among `mine` of `groups`.
double groups_hit(int64_t groups, int64_t mine, int64_t drawn, int64_t j) {
  const auto choose = [](int64_t n, int64_t r) {
    double c = r < 0 || r > n ? 0 : 1;
    for (int64_t i = 0; i < r && c > 0; ++i) c *= d(n - i) / d(i + 1);
    return c;
  };
  return choose(mine, j) * choose(groups - mine, drawn - j) / choose(groups, drawn);
}

}  // namespace

double expected_places(int64_t experts, int64_t groups, int64_t top_groups, int64_t k,
                       int64_t places) {
  const double group = d(experts / groups);
  const double reachable = group * d(top_groups);
  if (places >= groups)  // a place holds a part of one group
    return d(places) * d(top_groups) / d(groups) *
           (1 - all_missed(reachable, d(experts) / d(places), k));
  const int64_t mine = groups / places;
  double missed = 0;
  for (int64_t j = 0; j <= std::min(mine, top_groups); ++j)
    missed += groups_hit(groups, mine, top_groups, j) * all_missed(reachable, group * d(j), k);
  return d(places) * (1 - missed);
}

CollectiveCost token_all_to_all(const GroupLinks& l, const TokenTraffic& t, const TokenRates& r,
                                double nvlink_latency_us) {
  CollectiveCost c;
  const double nodes = d(l.nodes), per_node = d(l.per_node());
  c.network_bytes = t.logical_bytes * (1 - 1 / nodes);
  c.gpu_bytes = t.arrived_bytes * (1 - 1 / per_node);
  c.latency_s = ((l.nodes > 1 ? l.network_latency_us : 0) + nvlink_latency_us) * 1e-6;
  const double network = c.network_bytes / (r.network_line_GBps * r.network_fraction * 1e9);
  const double nvlink = c.gpu_bytes / (l.gpu_GBps * 1e9);
  const double forward = t.arrived_bytes / (l.gpu_GBps * r.forward_fraction * 1e9);
  c.transfer_s = std::max({network, nvlink, forward});
  return c;
}

}  // namespace orrery
