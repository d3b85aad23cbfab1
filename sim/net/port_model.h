// Collectives and transfers limited by the ports of one GPU: its share of the node's NICs and its
// NVLink. No contention inside the fabric (a full-bisection fat tree); what shares a port is
// decided by the engine (sim/exec/sim_timing.h).
#pragma once

#include "sim/base/units.h"
#include "sim/spec/cluster.h"

namespace orrery {

// Where the members of a group live.
struct GroupPlacement {
  int64_t members = 1;
  int64_t per_node = 1;  // members on one node, the same on each
};

// One message to a rank on another node: latency + bytes / NIC share. Seconds.
double p2p_seconds(const ClusterSpec& c, Bytes bytes);

// An all-to-all of tokens forwarded over NVLink inside the destination node (DeepEP): each token
// crosses the network once for each of its nodes but its own, then goes to each of its ranks.
//   network: logical · (1 - 1/nodes) / (line rate of the NIC share · network_fraction)
//   NVLink:  arrived · (1 - 1/per_node) / effective NVLink rate
// The two are pipelined; the slower one counts. `logical` counts every token to each of its nodes,
// own included; `arrived` is what reaches one rank. Seconds.
double all_to_all_seconds(const ClusterSpec& c, const GroupPlacement& group, Bytes logical,
                          Bytes arrived, double network_fraction);

// Ring reduce-scatter or all-gather of `bytes` (the whole buffer of one rank), NCCL's rings over
// all NICs of a node: every ring crosses each node boundary once, so a NIC carries
// bytes · (n-1)/n / per_node and NVLink bytes · (n-1)/n. Link rates times `efficiency`. Seconds.
double ring_seconds(const ClusterSpec& c, const GroupPlacement& group, Bytes bytes,
                    double efficiency);

}  // namespace orrery
