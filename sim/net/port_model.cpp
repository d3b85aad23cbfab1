#include "sim/net/port_model.h"

#include <algorithm>

namespace orrery {
namespace {

double d(int64_t x) { return static_cast<double>(x); }

BytesPerSecond nic_line_rate(const ClusterSpec& c) {
  return from_GBps(c.node.nic_GBps.value * d(c.node.nics) / d(c.node.gpus));
}

}  // namespace

double p2p_seconds(const ClusterSpec& c, Bytes bytes) {
  return c.latency_us.value * 1e-6 + transfer_seconds(bytes, c.network_per_gpu());
}

double all_to_all_seconds(const ClusterSpec& c, const GroupPlacement& group, Bytes logical,
                          Bytes arrived, double network_fraction) {
  const double nodes = d(group.members) / d(group.per_node);
  const double network =
      d(logical.count()) * (1 - 1 / nodes) / (nic_line_rate(c).count() * network_fraction);
  const double nvlink =
      d(arrived.count()) * (1 - 1 / d(group.per_node)) / c.nvlink_per_gpu().count();
  const double latency = nodes > 1 ? c.latency_us.value + c.node.nvlink_latency_us.value
                                   : c.node.nvlink_latency_us.value;
  return latency * 1e-6 + std::max(network, nvlink);
}

double ring_seconds(const ClusterSpec& c, const GroupPlacement& group, Bytes bytes,
                    double efficiency) {
  if (group.members <= 1) return 0;
  const double moved = d(bytes.count()) * d(group.members - 1) / d(group.members);
  const double nodes = d(group.members) / d(group.per_node);
  const double network =
      nodes > 1 ? moved / d(group.per_node) / (nic_line_rate(c).count() * efficiency) : 0;
  const double nvlink = group.per_node > 1 ? moved / (c.nvlink_per_gpu().count() * efficiency) : 0;
  const double hops = d(group.members - 1);
  const double latency = nodes > 1 ? c.latency_us.value : c.node.nvlink_latency_us.value;
  // Only the hops that leave the node pay the network latency.
  return hops * latency * 1e-6 / (nodes > 1 ? d(group.per_node) : 1) + std::max(network, nvlink);
}

}  // namespace orrery
