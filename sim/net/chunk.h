// Collectives and transfers step by step: the messages of the algorithm as flows on links, each
// starting when those that it waits for have arrived. The `chunk` tier of fidelity, and the check
// of the closed forms of collectives/collective.h, which it meets within 5 % without contention
// (tests/unit/net/chunk_test.cpp) - but for rings of medium size over slow adapters: these hide
// part of the hops' latency behind transfers, up to 16 % of the time, where the closed form adds
// both.
//
// A message waits, then takes the latency of its link, then its bytes at the max-min fair rate that
// changes whenever another message starts or ends. Rings run one lane per adapter of a node (else
// one), each lane on its part of the buffer; trees cut the buffer into chunks that follow each
// other up and down. Ignored: the ramp inside a message, and protocols' flags beyond their rates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/net/collectives/collective.h"
#include "sim/net/flow_solver.h"

namespace orrery {

struct Message {
  double bytes = 0;
  double latency_s = 0;
  std::vector<uint32_t> path;   // links
  std::vector<uint32_t> after;  // messages that must have arrived before its latency begins
  // A message that must have been sent before this one's bytes follow, on the same link.
  uint32_t behind = UINT32_MAX;
  uint32_t weight = 1;
};

// When the last message arrives. Links in bytes per second. Throws Error(kInternal) when messages
// wait for each other in a circle. O(messages · their component).
double run_messages(std::span<const double> link_rate, const std::vector<Message>& messages);

// A collective with a given algorithm and protocol on ports only: every GPU has an NVLink port and
// a share of the adapters, each way. As algorithm_cost, in seconds. Rings, trees, NVLS, and direct
// transfers; throws Error(kInternal) for others.
double chunk_seconds(const CollectiveSpec& spec, Collective c, const GroupLinks& links, Bytes bytes,
                     Algorithm a, Protocol p);

// Whether chunk_seconds knows the algorithm on these links and its messages are at most a few
// million.
bool has_chunk_model(Collective c, const GroupLinks& links, Algorithm a);

// Parent of each node in the two trees of NCCL's double binary tree (-1: root): node i is inner in
// at most one of them. (Sanders, Speck, Traeff, "Two-tree algorithms for full bandwidth broadcast,
// reduction and scan", Parallel Computing 35, 2009; mirrored for even numbers of nodes, shifted for
// odd ones.)
struct DoubleTree {
  std::vector<int64_t> parent[2];
};
DoubleTree double_binary_tree(int64_t nodes);

}  // namespace orrery
