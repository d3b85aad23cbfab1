#include "sim/net/collectives/tuner.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "sim/base/casts.h"

namespace orrery {
namespace {

constexpr double kLl128Share = 120.0 / 128.0;
constexpr double kRingLl128Share = 0.92;  // of the bus, as NCCL rounds it
constexpr double kLlShare = 0.5;
constexpr double kTreeShare = 0.92;
constexpr double kTreeLlShare = 1 / 3.8;
constexpr double kTreeLl128Local = 7.0 / 9.0;

int log2_floor(int64_t x) { return static_cast<int>(std::bit_width(static_cast<uint64_t>(x))) - 1; }

std::size_t scale(const GroupLinks& l) { return l.nodes == 1 ? 0 : l.nodes == 2 ? 1 : 2; }

// The slowest of the links that the group uses, GB/s.
double slowest_link(const GroupLinks& l) {
  double rate = std::numeric_limits<double>::infinity();
  if (l.per_node() > 1) rate = l.gpu_GBps;
  if (l.nodes > 1) rate = std::min(rate, l.network_GBps);
  return rate;
}

bool offered(const GroupLinks& l, Collective c, Algorithm a, Protocol p) {
  const bool reduce_all = c == Collective::kAllReduce;
  if (p == Protocol::kLl128 && l.local == LinkType::kPcie && l.per_node() > 1) return false;
  switch (a) {
    case Algorithm::kRing:
      return true;
    case Algorithm::kTree:
      return reduce_all;
    case Algorithm::kNvls:
      return l.multicast && l.nodes == 1 && p == Protocol::kSimple && l.ranks > 1;
    case Algorithm::kNvlsTree:
      return reduce_all && l.multicast && l.nodes > 1 && l.per_node() > 1 && p == Protocol::kSimple;
    case Algorithm::kPat:
      return !reduce_all && l.per_node() == 1 && p == Protocol::kSimple;
    case Algorithm::kDirect:
      return false;
  }
  return false;
}

double hop_us(const CollectiveSpec& s, const GroupLinks& l, LinkType link, Algorithm a,
              Protocol p) {
  const double hop = s.hop_latency_us[at(link)][at(a)][at(p)];
  return link == LinkType::kNetwork ? std::max(hop, l.network_latency_us) : hop;
}

double ring_latency_us(const CollectiveSpec& s, Collective c, const GroupLinks& l, double bytes,
                       Protocol p) {
  const int64_t passes = c == Collective::kAllReduce ? 2 : 1;
  const double steps = d(passes * (l.ranks - 1));
  const double network_steps = d(passes * (l.nodes - 1));
  double local = hop_us(s, l, l.local, Algorithm::kRing, p);
  if (l.nodes > 1)
    local = std::max(local, s.network_overhead_us * (p == Protocol::kSimple ? 3 : 1));
  // With one rank a node nothing hides the network's latency; NCCL then takes that of trees.
  const Algorithm like = l.per_node() == 1 ? Algorithm::kTree : Algorithm::kRing;
  double latency = s.base_latency_us[at(Algorithm::kRing)][at(p)] +
                   (steps - network_steps) * local +
                   network_steps * hop_us(s, l, LinkType::kNetwork, like, p);
  const bool plateau = p == Protocol::kSimple && l.nodes > 1 && c == Collective::kAllReduce &&
                       bytes / (s.channels[at(l.architecture)] * d(l.ranks)) >= 64;
  return plateau ? latency * s.ring_plateau : latency;
}

double latency_us(const CollectiveSpec& s, Collective c, const GroupLinks& l, double bytes,
                  Algorithm a, Protocol p) {
  const double base = s.base_latency_us[at(a)][at(p)];
  const double local = hop_us(s, l, l.local, a, p);
  const double network = hop_us(s, l, LinkType::kNetwork, a, p);
  const double levels = log2_floor(l.nodes);
  switch (a) {
    case Algorithm::kRing:
      return ring_latency_us(s, c, l, bytes, p);
    case Algorithm::kTree:
      return base + 2 * (d(l.per_node() - 1) * local + levels * network);
    case Algorithm::kNvls:
      return base + local;
    case Algorithm::kNvlsTree:
      return base + local + 2 * levels * network;
    case Algorithm::kPat:
      return base + levels * network / 3.5 + d(l.ranks) * 2.8;
    case Algorithm::kDirect:
      break;
  }
  return 0;
}

double nvls_bandwidth(const CollectiveSpec& s, Collective c, const GroupLinks& l, Algorithm a) {
  // One head, and in the tuner's count one channel, for each GPU of the node.
  const double heads = d(l.per_node());
  if (heads < 2) return 0;
  const std::size_t gpu = at(l.architecture);
  double bus = std::min(l.gpu_GBps, heads * s.nvls_head_GBps[gpu]);
  bus *= s.nvls_efficiency[gpu] * (heads - 1) / heads;
  bus *= c == Collective::kAllReduce ? 2 : (heads - 1) / heads;
  if (a == Algorithm::kNvlsTree)
    bus = std::min(
        {bus, l.network_GBps * (l.nodes <= 2 ? 2 : 1), heads * s.nvls_tree_GBps[gpu][scale(l)]});
  return bus;
}

}  // namespace

double protocol_rate_GBps(const CollectiveSpec& s, const GroupLinks& l, Algorithm a, Protocol p) {
  const std::size_t gpu = at(l.architecture), n = scale(l);
  const double channels = s.channels[gpu];
  double bus = slowest_link(l);
  if (a == Algorithm::kPat) return bus * s.pat_efficiency;
  if (a == Algorithm::kRing) {
    if (p == Protocol::kLl) return std::min(s.ll_max_GBps[gpu][n], bus * kLlShare);
    if (p == Protocol::kLl128)
      return std::min(bus * kRingLl128Share, channels * s.ring_ll128_GBps[gpu][n]);
    return bus;
  }
  // Trees have half of the channels, which carry up and down.
  bus = std::min(bus * kTreeShare, channels / 2 * s.tree_GBps[gpu][n]);
  if (p == Protocol::kLl) return std::min(bus * kTreeLlShare, s.ll_max_GBps[gpu][n]);
  if (p == Protocol::kLl128)
    return std::min(bus * (l.nodes == 1 ? kTreeLl128Local : kLl128Share),
                    channels / 2 * s.tree_ll128_GBps[gpu][n]);
  return bus;
}

TunerEstimate tuner_estimate(const CollectiveSpec& s, Collective c, const GroupLinks& l,
                             double bytes, Algorithm a, Protocol p) {
  if (!offered(l, c, a, p)) return {};
  TunerEstimate e;
  e.latency_us = latency_us(s, c, l, bytes, a, p);
  const bool all_reduce = c == Collective::kAllReduce;
  const double ring_ratio = d(l.ranks) / d((all_reduce ? 2 : 1) * (l.ranks - 1));
  switch (a) {
    case Algorithm::kRing:
      e.bandwidth_GBps = protocol_rate_GBps(s, l, a, p) * ring_ratio;
      break;
    case Algorithm::kTree: {
      e.bandwidth_GBps = protocol_rate_GBps(s, l, a, p) * 0.5;
      const int size = bytes < 64 ? -1 : log2_floor(static_cast<int64_t>(bytes) >> 6);
      if (size >= 0 && size < 23)
        e.bandwidth_GBps *= s.tree_correction[at(p)][static_cast<std::size_t>(size)];
      break;
    }
    case Algorithm::kNvls:
    case Algorithm::kNvlsTree:
      e.bandwidth_GBps = nvls_bandwidth(s, c, l, a) * (all_reduce ? ring_ratio : 1);
      break;
    case Algorithm::kPat:
      e.bandwidth_GBps = protocol_rate_GBps(s, l, a, p);
      break;
    case Algorithm::kDirect:
      break;
  }
  return e;
}

TunerChoice tuner_choice(const CollectiveSpec& s, Collective c, const GroupLinks& l, double bytes) {
  TunerChoice best;
  double least = std::numeric_limits<double>::infinity();
  for (int a = 0; a < kAlgorithms; ++a)
    for (int p = 0; p < kProtocols; ++p) {
      const TunerChoice here{static_cast<Algorithm>(a), static_cast<Protocol>(p)};
      const TunerEstimate e = tuner_estimate(s, c, l, bytes, here.algorithm, here.protocol);
      if (e.bandwidth_GBps <= 0 || e.micros(bytes) >= least) continue;
      least = e.micros(bytes);
      best = here;
    }
  return best;
}

}  // namespace orrery
