// What one collective costs on its own, by the algorithms of NCCL, and what it moves through the
// ports of a GPU and of its node.
//
// Time of an algorithm with a protocol: latency + transfer.
//   latency   base of the call + hops · latency of a hop, by link type (CollectiveSpec)
//   transfer  bytes on the busiest port over what the protocol reaches there
// Algorithm and protocol are those that NCCL's tuner would take (tuner.h). Buffer size S is that of
// nccl-tests: the whole buffer of one rank (all-gather, reduce-scatter: all ranks' shards).
// n ranks on N nodes, p = n / N on each; b: the smaller of the rates of the GPU's port and of the
// node's adapters, where the group uses them.
//   ring       s = n-1 steps (all-reduce 2(n-1)); S·s/n over b; the first and last step of a shard
//              have nothing to receive or to pass on, which costs the NVLink kernels
//              ring_local_steps steps more
//   tree       double binary tree over the nodes, a chain inside each (all-reduce); 2·S over b
//   NVLS       one node: the switch reads S and returns S/p, takes S/p and multicasts S:
//              S·(1 + 1/p) over the GPU's port
//   NVLS tree  NVLS inside the nodes, S/p of each rank reduced over a double binary tree of nodes
//   PAT        one rank a node; log2(n) rounds (all-gather, reduce-scatter); S·(n-1)/n over b
//   direct     all-to-all: S·(p-1)/n by NVLink and S·(n-p)/n by the network at once; send/recv
// Protocols: LL stores 4 bytes of flag with 4 of data, LL128 8 with 120; Simple synchronises by
// counters once a chunk, so it moves nothing else and its hops take longest.
//
// Valid for groups of equal numbers of ranks on each node. Ignored: CollNet (switches of the
// network that reduce), NICs shared unevenly, the ramp of pipelines beyond the latency terms.
// Source of the constants: see the profile; of the transfer terms: the algorithms themselves, and
// NVIDIA's account of double binary trees (NCCL 2.4) and of PAT (arXiv 2506.20252).
#pragma once

#include <optional>

#include "sim/base/units.h"
#include "sim/spec/collectives.h"

namespace orrery {

enum class Collective : uint8_t { kAllReduce, kReduceScatter, kAllGather, kAllToAll, kSendRecv };
constexpr int kCollectives = 5;

// What a group sees of the machine. Rates are effective ones, per direction.
struct GroupLinks {
  int64_t ranks = 1;
  int64_t nodes = 1;
  double gpu_GBps = 0;            // one GPU's port to the others of its node
  double network_GBps = 0;        // the adapters of one node that the group's ranks there can use
  double network_latency_us = 0;  // of one message; a network hop takes no less
  LinkType local = LinkType::kNvlink;
  bool multicast = false;  // the node's switch can reduce and multicast (NVLS)
  GpuArchitecture architecture = GpuArchitecture::kHopper;

  int64_t per_node() const { return ranks / nodes; }
};

struct CollectiveCost {
  Algorithm algorithm = Algorithm::kDirect;
  Protocol protocol = Protocol::kSimple;
  double latency_s = 0;
  double transfer_s = 0;
  double gpu_bytes = 0;      // through each direction of a GPU's port
  double network_bytes = 0;  // through each direction of a GPU's share of the adapters
  double channels = 0;       // CTAs, one SM each

  double seconds() const { return latency_s + transfer_s; }
};

// The collective as NCCL would run it. One rank: nothing. O(algorithms · protocols).
CollectiveCost collective_cost(const CollectiveSpec& spec, Collective c, const GroupLinks& links,
                               Bytes bytes);

// The same with a given algorithm and protocol; nothing where NCCL has none such.
std::optional<CollectiveCost> algorithm_cost(const CollectiveSpec& spec, Collective c,
                                             const GroupLinks& links, Bytes bytes, Algorithm a,
                                             Protocol p);

// Bus bandwidth of nccl-tests, GB/s: S / t times 2(n-1)/n (all-reduce), (n-1)/n (reduce-scatter,
// all-gather, all-to-all) or 1.
double bus_bandwidth_GBps(Collective c, int64_t ranks, Bytes bytes, double seconds);

}  // namespace orrery
