#include "sim/net/chunk.h"

#include <algorithm>

#include "tests/catch.h"
#include "tests/unit/net/nccl.h"

using namespace orrery;

namespace {

GroupLinks h100_links(int64_t ranks, int64_t nodes) {
  GroupLinks l;
  l.ranks = ranks;
  l.nodes = nodes;
  l.gpu_GBps = 370;
  l.network_GBps = 47 * static_cast<double>(l.per_node());
  l.multicast = true;
  return l;
}

// Steps over closed form, less one.
double difference(Collective c, const GroupLinks& l, int64_t bytes, Algorithm a, Protocol p) {
  const CollectiveSpec s = testing::nccl();
  const auto closed = algorithm_cost(s, c, l, Bytes(bytes), a, p);
  REQUIRE(closed);
  return chunk_seconds(s, c, l, Bytes(bytes), a, p) / closed->seconds() - 1;
}

constexpr int64_t kChunkMiB = 1 << 20;

}  // namespace

TEST_CASE("Messages wait, take their latency and share links", "[net]") {
  // Two of 100 B on a link of 100 B/s, the second half a second later. The first has it alone until
  // 0.5, then half of it for its last 50 B: 1.5. The second then has 50 B left and the link alone:
  // 2.0. A third waits for both, takes 1 s of latency and 1 s to send: 4.0.
  const double rate[] = {100};
  Message first, second, third;
  first.bytes = second.bytes = third.bytes = 100;
  first.path = second.path = third.path = {0};
  second.latency_s = 0.5;
  third.latency_s = 1;
  third.after = {0, 1};
  CHECK(run_messages(rate, {first, second, third}) == Approx(4.0));
}

TEST_CASE("Messages in a circle are an error", "[net]") {
  const double rate[] = {1};
  Message a, b;
  a.after = {1};
  b.after = {0};
  CHECK_THROWS(run_messages(rate, {a, b}));
}

TEST_CASE("The steps of rings meet the closed form within 2 % in a node", "[net]") {
  for (const Collective c :
       {Collective::kAllGather, Collective::kReduceScatter, Collective::kAllReduce})
    for (const Protocol p : {Protocol::kLl, Protocol::kLl128, Protocol::kSimple})
      for (int64_t bytes : {64 * 1024, 4 << 20, 512 << 20}) {
        CAPTURE(static_cast<int>(c), static_cast<int>(p), bytes);
        CHECK(std::abs(difference(c, h100_links(8, 1), bytes, Algorithm::kRing, p)) < 0.02);
      }
}

TEST_CASE("The steps of rings over nodes meet it within 5 % when large", "[net]") {
  // All-gather and reduce-scatter: the tuner's plateau of the all-reduce is not a step.
  for (const auto& [ranks, nodes] : {std::pair<int64_t, int64_t>{4, 4}, {8, 2}, {16, 4}}) {
    CAPTURE(ranks, nodes);
    CHECK(std::abs(difference(Collective::kAllGather, h100_links(ranks, nodes), 1024 * kChunkMiB,
                              Algorithm::kRing, Protocol::kSimple)) < 0.05);
    // Where the adapters limit, steps hide hops that the closed form, as NCCL's tuner, adds up.
    const double medium = difference(Collective::kAllGather, h100_links(ranks, nodes),
                                     64 * kChunkMiB, Algorithm::kRing, Protocol::kSimple);
    CHECK(medium < 0.05);
    CHECK(medium > -0.2);
  }
}

TEST_CASE("Double trees over nodes meet it within 5 %", "[net]") {
  for (int64_t nodes : {4, 8, 16})
    CHECK(std::abs(difference(Collective::kAllReduce, h100_links(nodes, nodes), 2048 * kChunkMiB,
                              Algorithm::kTree, Protocol::kSimple)) < 0.05);
}

TEST_CASE("NVLS and all-to-alls meet it within 5 %", "[net]") {
  CHECK(std::abs(difference(Collective::kAllReduce, h100_links(8, 1), 1024 * kChunkMiB,
                            Algorithm::kNvls, Protocol::kSimple)) < 0.05);
  for (const auto& [ranks, nodes] : {std::pair<int64_t, int64_t>{8, 1}, {16, 2}, {16, 16}})
    CHECK(std::abs(difference(Collective::kAllToAll, h100_links(ranks, nodes), 256 * kChunkMiB,
                              Algorithm::kDirect, Protocol::kSimple)) < 0.05);
  CHECK(std::abs(difference(Collective::kSendRecv, h100_links(2, 2), 64 * kChunkMiB,
                            Algorithm::kDirect, Protocol::kSimple)) < 0.01);
}

TEST_CASE("In a double binary tree nobody is inner twice", "[net]") {
  for (int64_t n = 2; n < 40; ++n) {
    const DoubleTree t = double_binary_tree(n);
    std::vector<int> inner(static_cast<std::size_t>(n), 0);
    for (const auto& parent : t.parent) {
      std::vector<int> children(static_cast<std::size_t>(n), 0);
      CHECK(std::count(parent.begin(), parent.end(), -1) == 1);
      for (int64_t p : parent)
        if (p >= 0) ++children[static_cast<std::size_t>(p)];
      for (std::size_t i = 0; i < children.size(); ++i) {
        CAPTURE(n, i);
        CHECK(children[i] <= 2);
        inner[i] += children[i] == 2;
      }
    }
    CHECK(*std::max_element(inner.begin(), inner.end()) <= 1);
  }
}
