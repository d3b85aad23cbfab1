#include "sim/net/collectives/collective.h"

#include "sim/net/collectives/hierarchical.h"
#include "sim/net/collectives/tuner.h"
#include "tests/catch.h"
#include "tests/unit/net/nccl.h"

using namespace orrery;

namespace {

GroupLinks h100(int64_t ranks, int64_t nodes) {
  GroupLinks l;
  l.ranks = ranks;
  l.nodes = nodes;
  l.gpu_GBps = 370;
  l.network_GBps = 47 * static_cast<double>(l.per_node());
  l.multicast = true;
  return l;
}

constexpr int64_t kMiB = 1 << 20;

}  // namespace

TEST_CASE("A ring by hand", "[net]") {
  const CollectiveSpec s = testing::nccl();
  // 8 ranks, one node, Simple, 64 MiB all-gathered: 8.4 us + 7 hops of 3.4 us = 32.2 us;
  // 7.37 eighths of 67,108,864 B over 370 GB/s = 167.092 us, of which 7 cross NVLink.
  const auto c = algorithm_cost(s, Collective::kAllGather, h100(8, 1), Bytes(64 * kMiB),
                                Algorithm::kRing, Protocol::kSimple);
  REQUIRE(c);
  CHECK(c->latency_s * 1e6 == Approx(32.2));
  CHECK(c->transfer_s * 1e6 == Approx(167.092).epsilon(1e-4));
  CHECK(c->gpu_bytes == Approx(58720256));
  CHECK(c->network_bytes == 0);
  CHECK(c->channels == 24);
}

TEST_CASE("A ring over nodes loads each adapter with the shard of its GPU", "[net]") {
  const CollectiveSpec s = testing::nccl();
  // 16 ranks on 2 nodes, all-reduce: 30 steps of which 2 cross; 2·15/16·S pass each node's
  // adapters, an eighth of it each of the 8. Latency: 8.4 + 28 · 3.4 + 2 · 14 = 131.6 us, times
  // 1.4 over several nodes.
  const auto c = algorithm_cost(s, Collective::kAllReduce, h100(16, 2), Bytes(256 * kMiB),
                                Algorithm::kRing, Protocol::kSimple);
  REQUIRE(c);
  CHECK(c->latency_s * 1e6 == Approx(131.6 * 1.4));
  CHECK(c->network_bytes == Approx(2.0 * 15 / 16 * 256 * kMiB / 8));
  // 30.37 sixteenths over NVLink take longer than 30 over 376 GB/s of adapters.
  CHECK(c->transfer_s == Approx(30.37 / 16 * 256 * kMiB / (370 * 1e9)));
}

TEST_CASE("NVLS moves a buffer and a shard, whatever the bus bandwidth says", "[net]") {
  const CollectiveSpec s = testing::nccl();
  // 1 GiB · (1 + 1/8) / (0.85 · 370 GB/s) = 3840.9 us, 25 us of latency.
  const auto c = algorithm_cost(s, Collective::kAllReduce, h100(8, 1), Bytes(1024 * kMiB),
                                Algorithm::kNvls, Protocol::kSimple);
  REQUIRE(c);
  CHECK(c->transfer_s * 1e6 == Approx(3840.9).epsilon(1e-4));
  CHECK(c->latency_s * 1e6 == Approx(25));
  CHECK(bus_bandwidth_GBps(Collective::kAllReduce, 8, Bytes(1024 * kMiB), c->transfer_s) >
        h100(8, 1).gpu_GBps);
}

TEST_CASE("The tuner takes LL for small, LL128 for medium and Simple or NVLS for large buffers",
          "[net]") {
  const CollectiveSpec s = testing::nccl();
  const auto chosen = [&](Collective c, const GroupLinks& l, double bytes) {
    const TunerChoice t = tuner_choice(s, c, l, bytes);
    return std::pair(t.algorithm, t.protocol);
  };
  using A = Algorithm;
  using P = Protocol;
  CHECK(chosen(Collective::kAllReduce, h100(8, 1), 1024).second == P::kLl);
  CHECK(chosen(Collective::kAllGather, h100(8, 1), 8 << 20) == std::pair(A::kRing, P::kLl128));
  CHECK(chosen(Collective::kAllReduce, h100(8, 1), 1e9) == std::pair(A::kNvls, P::kSimple));
  CHECK(chosen(Collective::kAllGather, h100(8, 1), 1e9) == std::pair(A::kRing, P::kSimple));
  CHECK(chosen(Collective::kAllReduce, h100(64, 8), 1024) == std::pair(A::kTree, P::kLl));
  CHECK(chosen(Collective::kAllReduce, h100(64, 8), 4e9).first != A::kNvls);
  // One rank a node: PAT's logarithm against the ring's many hops.
  CHECK(chosen(Collective::kAllGather, h100(64, 64), 64 * 1024).first != A::kNvlsTree);
  GroupLinks ampere = h100(8, 1);
  ampere.architecture = GpuArchitecture::kAmpere;
  ampere.multicast = false;
  CHECK(chosen(Collective::kAllReduce, ampere, 1e9).first == A::kRing);
}

TEST_CASE("More bytes, more ranks and slower links never cost less", "[net]") {
  const CollectiveSpec s = testing::nccl();
  for (const Collective c : {Collective::kAllReduce, Collective::kAllGather,
                             Collective::kReduceScatter, Collective::kAllToAll})
    for (const auto& [ranks, nodes] : {std::pair<int64_t, int64_t>{8, 1}, {16, 2}, {64, 8}}) {
      double last = 0;
      for (int64_t bytes = 1 << 22; bytes <= int64_t{1} << 34; bytes *= 2) {
        GroupLinks l = h100(ranks, nodes);
        const double t = collective_cost(s, c, l, Bytes(bytes)).seconds();
        CAPTURE(static_cast<int>(c), ranks, nodes, bytes);
        CHECK(t >= last);
        last = t;
        l.gpu_GBps /= 2, l.network_GBps /= 2;
        CHECK(collective_cost(s, c, l, Bytes(bytes)).seconds() >= t);
      }
    }
}

TEST_CASE("One rank costs nothing", "[net]") {
  const CollectiveSpec s = testing::nccl();
  CHECK(collective_cost(s, Collective::kAllReduce, h100(1, 1), Bytes(kMiB)).seconds() == 0);
}

TEST_CASE("An all-to-all sends each peer its part, the near ones by NVLink", "[net]") {
  const CollectiveSpec s = testing::nccl();
  // 16 ranks on 2 nodes, 160 MB: 10 MB to each; 70 MB near, 80 MB far.
  const CollectiveCost c =
      collective_cost(s, Collective::kAllToAll, h100(16, 2), Bytes(160'000'000));
  CHECK(c.gpu_bytes == Approx(70e6));
  CHECK(c.network_bytes == Approx(80e6));
  CHECK(c.transfer_s == Approx(80e6 / 47e9));
}

TEST_CASE("Places that a token's experts are on, by hand", "[net]") {
  // Two experts, one of each of two groups of one: always both of two places.
  CHECK(expected_places(2, 2, 2, 2, 2) == Approx(2));
  // 1 of 4 experts without groups on 4 places: 1. 2 of 4: 2. 2 of 4 on 2 places: 1 + 2/3.
  CHECK(expected_places(4, 1, 1, 1, 4) == Approx(1));
  CHECK(expected_places(4, 1, 1, 2, 4) == Approx(2));
  CHECK(expected_places(4, 1, 1, 2, 2) == Approx(1 + 2.0 / 3));
  // One of two groups: never more than its places.
  CHECK(expected_places(256, 8, 4, 8, 8) < 4);
  CHECK(expected_places(256, 8, 4, 8, 8) > 3.5);
  CHECK(expected_places(256, 8, 4, 8, 1) == Approx(1));
}

TEST_CASE("The slowest of network, NVLink and forwarding sets a token exchange", "[net]") {
  GroupLinks l = h100(16, 2);
  const TokenRates r{50, 0.9, 0.5};
  // Network: 90 MB · 1/2 / 45 GB/s = 1000 us; NVLink: 74 MB · 7/8 / 370 = 175; forward 400.
  CHECK(token_all_to_all(l, {90e6, 74e6}, r, 0).transfer_s * 1e6 == Approx(1000));
  CHECK(token_all_to_all(l, {9e6, 74e6}, r, 0).transfer_s * 1e6 == Approx(400));
}
