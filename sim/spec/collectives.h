// A collective library: the constants from which it chooses an algorithm and a protocol for a size,
// and what its kernels reach on the links. sim/net/collectives/ has the formulas.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "sim/spec/hardware.h"

namespace orrery {

enum class Algorithm : uint8_t { kRing, kTree, kNvls, kNvlsTree, kPat, kDirect };
constexpr int kAlgorithms = 6;
extern const std::string_view kAlgorithmNames[kAlgorithms];  // "ring", "tree", ...

enum class Protocol : uint8_t { kLl, kLl128, kSimple };
constexpr int kProtocols = 3;
extern const std::string_view kProtocolNames[kProtocols];  // "ll", "ll128", "simple"

// What a hop crosses.
enum class LinkType : uint8_t { kNvlink, kPcie, kNetwork };
constexpr int kLinkTypes = 3;
extern const std::string_view kLinkTypeNames[kLinkTypes];

struct CollectiveSpec {
  template <class T, int N>
  using Per = std::array<T, N>;
  using PerProtocol = Per<double, kProtocols>;
  // By GPU architecture and by nodes: one, two, more.
  using PerScale = Per<Per<double, 3>, kGpuArchitectures>;

  std::string name;
  // Microseconds: of a call, and of each hop.
  Per<PerProtocol, kAlgorithms> base_latency_us{};
  Per<Per<PerProtocol, kAlgorithms>, kLinkTypes> hop_latency_us{};
  // GB/s, caps of the tuner's bus bandwidth; per channel except for LL.
  PerScale ll_max_GBps{}, ring_ll128_GBps{}, tree_ll128_GBps{}, tree_GBps{}, nvls_tree_GBps{};
  Per<double, kGpuArchitectures> nvls_efficiency{};  // share of the NVLink rate; 0: no multicast
  Per<double, kGpuArchitectures> nvls_head_GBps{};   // that one GPU adds, as the tuner counts
  Per<double, kGpuArchitectures> p2p_efficiency{};   // of all-to-alls made of send and receive
  // Trees at medium sizes, by protocol and power of two from 64 B on; 1 beyond.
  Per<Per<double, 24>, kProtocols> tree_correction{};
  double ring_local_steps = 0;     // of a ring's shard at its two ends, in steps over NVLink
  double ring_plateau = 1;         // on the latency of rings over the network
  double network_overhead_us = 0;  // to post one message
  double pat_efficiency = 0;       // of the bus bandwidth
  double p2p_latency_us = 0;       // of a group of sends and receives
  // CTAs, each of which holds one SM.
  Per<double, kGpuArchitectures> channels{}, nvls_channels{}, p2p_channels{};
};

CollectiveSpec read_collectives(json::Reader r);

}  // namespace orrery
