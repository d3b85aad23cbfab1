#include "sim/net/collectives/collective.h"

#include <algorithm>

#include "sim/base/casts.h"
#include "sim/net/collectives/tuner.h"

namespace orrery {
namespace {

constexpr double kGiga = 1e9;

// Bytes through each port, and the time of the slower one at the given rates (GB/s).
void transfer(CollectiveCost& c, const GroupLinks& l, double gpu_bytes, double gpu_GBps,
              double node_network_bytes, double network_GBps) {
  c.gpu_bytes = l.per_node() > 1 ? gpu_bytes : 0;
  c.network_bytes = l.nodes > 1 ? node_network_bytes / d(l.per_node()) : 0;
  if (c.gpu_bytes > 0) c.transfer_s = gpu_bytes / (gpu_GBps * kGiga);
  if (c.network_bytes > 0)
    c.transfer_s = std::max(c.transfer_s, node_network_bytes / (network_GBps * kGiga));
}

// What one head of an NVLS tree carries, GB/s: NCCL's cap of its bus, which counts both trees.
double nvls_tree_GBps(const CollectiveSpec& s, const GroupLinks& l) {
  const std::size_t scale = l.nodes <= 2 ? 1 : 2;
  return s.nvls_tree_GBps[at(l.architecture)][scale] / (l.nodes <= 2 ? 2 : 1);
}

CollectiveCost direct(const CollectiveSpec& s, Collective c, const GroupLinks& l, double bytes) {
  CollectiveCost cost;
  cost.channels = s.p2p_channels[at(l.architecture)];
  const double reached = l.gpu_GBps * s.p2p_efficiency[at(l.architecture)];
  const double n = d(l.ranks), p = d(l.per_node());
  if (c == Collective::kAllToAll) {
    cost.latency_s = s.p2p_latency_us * 1e-6;
    if (l.nodes > 1) cost.latency_s += l.network_latency_us * 1e-6;
    cost.channels *= std::min(n - 1, p);
    transfer(cost, l, bytes * (p - 1) / n, reached, bytes * (n - p) / n * p, l.network_GBps);
    return cost;
  }
  const bool far = l.nodes > 1;
  const double hop = s.hop_latency_us[at(far ? LinkType::kNetwork : l.local)][at(Algorithm::kRing)]
                                     [at(Protocol::kSimple)];
  cost.latency_s = std::max(hop, far ? l.network_latency_us : s.p2p_latency_us) * 1e-6;
  if (far)
    transfer(cost, l, 0, l.gpu_GBps, bytes * p, l.network_GBps);
  else
    transfer(cost, l, bytes, l.gpu_GBps, 0, l.network_GBps);
  return cost;
}

}  // namespace

std::optional<CollectiveCost> algorithm_cost(const CollectiveSpec& s, Collective c,
                                             const GroupLinks& l, Bytes size, Algorithm a,
                                             Protocol p) {
  const double bytes = d(size.count());
  if (a == Algorithm::kDirect) {
    if (c != Collective::kAllToAll && c != Collective::kSendRecv) return std::nullopt;
    return direct(s, c, l, bytes);
  }
  if (c == Collective::kAllToAll || c == Collective::kSendRecv) return std::nullopt;
  const TunerEstimate e = tuner_estimate(s, c, l, bytes, a, p);
  if (e.bandwidth_GBps <= 0) return std::nullopt;
  CollectiveCost cost;
  cost.algorithm = a;
  cost.protocol = p;
  cost.latency_s = e.latency_us * 1e-6;
  cost.channels = s.channels[at(l.architecture)];
  const double n = d(l.ranks), per_node = d(l.per_node());
  const double rate = protocol_rate_GBps(s, l, a, p);
  const double switch_rate = l.gpu_GBps * s.nvls_efficiency[at(l.architecture)];
  switch (a) {
    case Algorithm::kRing:
    case Algorithm::kPat: {
      const double steps = (c == Collective::kAllReduce ? 2 : 1) * (n - 1);
      const double ends = a == Algorithm::kRing ? s.ring_local_steps : 0;
      transfer(cost, l, bytes * steps / n, rate * steps / (steps + ends), bytes * steps / n, rate);
      break;
    }
    case Algorithm::kTree:
      // The tuner's bandwidth holds the correction of medium sizes.
      transfer(cost, l, 2 * bytes, 2 * e.bandwidth_GBps, 2 * bytes, 2 * e.bandwidth_GBps);
      break;
    case Algorithm::kNvls: {
      cost.channels = s.nvls_channels[at(l.architecture)];
      const double moved = c == Collective::kAllReduce ? bytes * (1 + 1 / per_node) : bytes;
      transfer(cost, l, moved, switch_rate, 0, 1);
      break;
    }
    case Algorithm::kNvlsTree:
      cost.channels = s.nvls_channels[at(l.architecture)];
      transfer(cost, l, bytes * (1 + 1 / per_node), switch_rate, bytes * (l.nodes <= 2 ? 1 : 2),
               std::min(l.network_GBps, per_node * nvls_tree_GBps(s, l)));
      break;
    case Algorithm::kDirect:
      break;
  }
  return cost;
}

CollectiveCost collective_cost(const CollectiveSpec& s, Collective c, const GroupLinks& l,
                               Bytes bytes) {
  if (l.ranks <= 1) return {};
  if (c == Collective::kAllToAll || c == Collective::kSendRecv)
    return *algorithm_cost(s, c, l, bytes, Algorithm::kDirect, Protocol::kSimple);
  const TunerChoice choice = tuner_choice(s, c, l, d(bytes.count()));
  return *algorithm_cost(s, c, l, bytes, choice.algorithm, choice.protocol);
}

double bus_bandwidth_GBps(Collective c, int64_t ranks, Bytes bytes, double seconds) {
  const double n = d(ranks);
  double factor = 1;
  if (c == Collective::kAllReduce) factor = 2 * (n - 1) / n;
  if (c == Collective::kReduceScatter || c == Collective::kAllGather || c == Collective::kAllToAll)
    factor = (n - 1) / n;
  return d(bytes.count()) / seconds / kGiga * factor;
}

}  // namespace orrery
