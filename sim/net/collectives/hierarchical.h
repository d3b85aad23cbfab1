// All-to-all of tokens by DeepEP's rule: over the network once to each destination node, from
// there over NVLink to each destination rank.
#pragma once

#include "sim/net/collectives/collective.h"

namespace orrery {

// What one rank's tokens make of traffic. `logical`: each token counted once for each of its
// nodes, the sender's own included (the figure that DeepEP reports its bandwidth by); `arrived`:
// what reaches one rank.
struct TokenTraffic {
  double logical_bytes = 0;
  double arrived_bytes = 0;
};

// Shares of the adapters' line rate and of the effective NVLink rate that the kernels reach.
struct TokenRates {
  double network_line_GBps = 0;  // of one GPU's share of the adapters
  double network_fraction = 1;
  double forward_fraction = 1;
};

// A pipeline of three stages, of which the slowest counts:
//   network   logical · (1 - 1/N) / (line rate · network_fraction)
//   NVLink    arrived · (1 - 1/p) / effective rate
//   forward   arrived / (effective rate · forward_fraction): the communication SMs copy every token
//             from the network buffers to the ranks of the node, their own included
// plus one latency of the network and one of NVLink. `links.network_latency_us` and
// `nvlink_latency_us` in microseconds.
CollectiveCost token_all_to_all(const GroupLinks& links, const TokenTraffic& traffic,
                                const TokenRates& rates, double nvlink_latency_us);

// Expected number of distinct places (nodes or ranks) that the k experts of a token are on, when
// `top_groups` of `groups` equal groups of experts are drawn, then k experts among theirs, all
// uniformly, and experts lie on `places` in order. Exact (hypergeometric); places and groups must
// divide one another. O(groups).
double expected_places(int64_t experts, int64_t groups, int64_t top_groups, int64_t k,
                       int64_t places);

}  // namespace orrery
