// The messages of each algorithm, for chunk.h.
#include <algorithm>
#include <map>

#include "sim/base/casts.h"
#include "sim/base/error.h"
#include "sim/net/chunk.h"
#include "sim/net/collectives/tuner.h"

namespace orrery {
namespace {

constexpr int64_t kTreeChunks = 256;  // in flight behind each other, of each tree
constexpr int64_t kNvlsChunks = 64;

enum Port : uint32_t { kGpuOut, kGpuIn, kNicOut, kNicIn, kPorts };

class Steps {
 public:
  Steps(const CollectiveSpec& s, Collective c, const GroupLinks& l, double bytes, Algorithm a,
        Protocol p)
      : spec_(s), collective_(c), links_(l), bytes_(bytes), algorithm_(a), protocol_(p) {
    double share = 1;  // of each port, that the protocol reaches
    if (a == Algorithm::kRing || a == Algorithm::kTree) {
      double slowest = l.per_node() > 1 ? l.gpu_GBps : l.network_GBps;
      if (l.nodes > 1) slowest = std::min(slowest, l.network_GBps);
      share = protocol_rate_GBps(s, l, a, p) / slowest;
    }
    double gpu = l.gpu_GBps * share;
    if (a == Algorithm::kNvls) gpu *= s.nvls_efficiency[at(l.architecture)];
    if (c == Collective::kAllToAll) gpu *= s.p2p_efficiency[at(l.architecture)];
    const double nic = l.network_GBps / d(l.per_node()) * share;
    for (int64_t r = 0; r < l.ranks; ++r)
      rates_.insert(rates_.end(), {gpu * 1e9, gpu * 1e9, nic * 1e9, nic * 1e9});
  }

  double seconds() {
    switch (algorithm_) {
      case Algorithm::kRing:
        ring();
        break;
      case Algorithm::kTree:
        tree();
        break;
      case Algorithm::kNvls:
        nvls();
        break;
      case Algorithm::kDirect:
        direct();
        break;
      default:
        throw Error(ExitCode::kInternal, "no step model of this algorithm");
    }
    return base_s() + run_messages(rates_, messages_);
  }

 private:
  int64_t node(int64_t rank) const { return rank / links_.per_node(); }

  double base_s() const {
    return algorithm_ == Algorithm::kDirect
               ? 0
               : spec_.base_latency_us[at(algorithm_)][at(protocol_)] * 1e-6;
  }

  double hop_s(bool far) const {
    const LinkType link = far ? LinkType::kNetwork : links_.local;
    // As the closed form: with one rank a node, rings pay the network latency of trees.
    const Algorithm like = far && algorithm_ == Algorithm::kRing && links_.per_node() == 1
                               ? Algorithm::kTree
                               : algorithm_;
    double us = spec_.hop_latency_us[at(link)][at(like)][at(protocol_)];
    if (far) us = std::max(us, links_.network_latency_us);
    if (!far && links_.nodes > 1 && algorithm_ == Algorithm::kRing)
      us = std::max(us, spec_.network_overhead_us * (protocol_ == Protocol::kSimple ? 3 : 1));
    return us * 1e-6;
  }

  uint32_t port(int64_t rank, Port p) const { return static_cast<uint32_t>(rank) * kPorts + p; }

  uint32_t send(int64_t from, int64_t to, double bytes, double latency_s,
                std::vector<uint32_t> after) {
    const bool far = node(from) != node(to);
    Message m;
    m.bytes = bytes;
    m.latency_s = latency_s;
    m.path = {port(from, far ? kNicOut : kGpuOut), port(to, far ? kNicIn : kGpuIn)};
    m.after = std::move(after);
    messages_.push_back(std::move(m));
    return static_cast<uint32_t>(messages_.size() - 1);
  }

  void ring() {
    const int64_t n = links_.ranks, p = links_.per_node();
    const int64_t lanes = links_.nodes > 1 ? p : 1;
    const int64_t steps = (collective_ == Collective::kAllReduce ? 2 : 1) * (n - 1);
    const double part = bytes_ / d(n * lanes);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      // Enters each node at GPU `lane` and goes round it.
      std::vector<int64_t> order;
      for (int64_t i = 0; i < n; ++i) order.push_back(i / p * p + (lane + i % p) % p);
      std::vector<uint32_t> last(at(n));
      for (int64_t step = 0; step < steps; ++step) {
        std::vector<uint32_t> now(at(n));
        for (int64_t i = 0; i < n; ++i) {
          const int64_t from = order[at(i)], to = order[at((i + 1) % n)];
          std::vector<uint32_t> after;
          if (step > 0) after = {last[at((i + n - 1) % n)]};
          now[at(i)] = send(from, to, part, hop_s(node(from) != node(to)), after);
          if (step > 0) messages_.back().behind = last[at(i)];
        }
        last = now;
      }
      if (links_.per_node() == 1) continue;
      for (int64_t i = 0; i < n; ++i) {  // see ring_local_steps
        Message m;
        m.bytes = part * spec_.ring_local_steps;
        m.path = {port(order[at(i)], kGpuOut)};
        m.after = {last[at((i + n - 1) % n)], last[at(i)]};
        messages_.push_back(std::move(m));
      }
    }
  }

  // One rank a node; each chunk goes up a tree and down again.
  void tree() {
    if (links_.per_node() != 1)
      throw Error(ExitCode::kInternal, "trees are stepped with one rank a node");
    const int64_t n = links_.ranks;
    const DoubleTree trees = double_binary_tree(n);
    for (const std::vector<int64_t>& parent : trees.parent) {
      std::vector<std::vector<int64_t>> children(at(n));
      for (int64_t i = 0; i < n; ++i)
        if (parent[at(i)] >= 0) children[at(parent[at(i)])].push_back(i);
      for (int64_t c = 0; c < kTreeChunks; ++c) tree_chunk(parent, children);
      before_.clear();
    }
  }

  void tree_chunk(const std::vector<int64_t>& parent,
                  const std::vector<std::vector<int64_t>>& children) {
    const double part = bytes_ / 2 / d(kTreeChunks);
    std::vector<int64_t> order;  // parents before children
    for (int64_t i = 0; i < links_.ranks; ++i)
      if (parent[at(i)] < 0) order.push_back(i);
    for (std::size_t k = 0; k < order.size(); ++k)
      order.insert(order.end(), children[at(order[k])].begin(), children[at(order[k])].end());
    std::map<int64_t, uint32_t> up, down;
    // A message also waits for the one before it on its edge: chunks keep their order.
    const auto follow = [&](int64_t from, int64_t to, std::vector<uint32_t> after) {
      const auto it = before_.find({from, to});
      const uint32_t m = send(from, to, part, hop_s(true), std::move(after));
      if (it != before_.end()) messages_.back().behind = it->second;
      return before_[{from, to}] = m;
    };
    for (auto it = order.rbegin(); it != order.rend(); ++it) {
      if (parent[at(*it)] < 0) continue;
      std::vector<uint32_t> after;
      for (int64_t child : children[at(*it)]) after.push_back(up.at(child));
      up[*it] = follow(*it, parent[at(*it)], after);
    }
    for (int64_t i : order)
      for (int64_t child : children[at(i)]) {
        std::vector<uint32_t> after;
        if (parent[at(i)] >= 0)
          after.push_back(down.at(i));
        else
          for (int64_t c : children[at(i)]) after.push_back(up.at(c));
        down[child] = follow(i, child, after);
      }
  }

  void nvls() {
    const double part = bytes_ / d(kNvlsChunks), shard = part / d(links_.ranks);
    const auto through = [&](Port p, int64_t rank, double bytes, std::vector<uint32_t> after) {
      Message m;
      m.bytes = bytes;
      m.path = {port(rank, p)};
      m.after = std::move(after);
      messages_.push_back(std::move(m));
      return static_cast<uint32_t>(messages_.size() - 1);
    };
    std::vector<uint32_t> last;
    for (int64_t c = 0; c < kNvlsChunks; ++c) {
      std::vector<uint32_t> reduced, arrived;
      for (int64_t r = 0; r < links_.ranks; ++r) {
        reduced.push_back(through(kGpuOut, r, part, last));
        reduced.push_back(through(kGpuIn, r, shard, last));
      }
      for (int64_t r = 0; r < links_.ranks; ++r) {
        arrived.push_back(through(kGpuOut, r, shard, reduced));
        through(kGpuIn, r, part, reduced);
      }
      last = std::move(reduced);
    }
  }

  void direct() {
    const double start =
        algorithm_cost(spec_, collective_, links_, Bytes(0), Algorithm::kDirect, Protocol::kSimple)
            ->latency_s;
    if (collective_ == Collective::kSendRecv) {
      send(0, links_.ranks - 1, bytes_, start, {});
      return;
    }
    for (int64_t i = 0; i < links_.ranks; ++i)
      for (int64_t k = 1; k < links_.ranks; ++k)
        send(i, (i + k) % links_.ranks, bytes_ / d(links_.ranks), start, {});
  }

  const CollectiveSpec& spec_;
  Collective collective_;
  const GroupLinks& links_;
  double bytes_;
  Algorithm algorithm_;
  Protocol protocol_;
  std::vector<double> rates_;
  std::vector<Message> messages_;
  std::map<std::pair<int64_t, int64_t>, uint32_t> before_;
};

// Parents in the in-order binary tree over 0..n-1 whose leaves are the even numbers (NCCL's):
// i's lowest set bit b: the parent is i with bit b cleared and the next set, or, beyond n, without.
int64_t binary_parent(int64_t i, int64_t n) {
  if (i == 0) return -1;
  const int64_t bit = i & -i;
  const int64_t up = (i ^ bit) | (bit << 1);
  return up >= n ? i ^ bit : up;
}

}  // namespace

DoubleTree double_binary_tree(int64_t n) {
  DoubleTree t;
  for (auto& p : t.parent) p.assign(at(n), -1);
  const auto parent = [&](int64_t i) {
    if (i == 0 || n == 1) return int64_t{-1};
    const int64_t up = binary_parent(i, n);
    return up;
  };
  // The root of the in-order tree is 0 with one child, the highest power of two below n.
  for (int64_t i = 1; i < n; ++i) t.parent[0][at(i)] = parent(i);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t mine = n % 2 == 0 ? n - 1 - i : (i + n - 1) % n;
    const int64_t up = t.parent[0][at(mine)];
    if (up >= 0) t.parent[1][at(i)] = n % 2 == 0 ? n - 1 - up : (up + 1) % n;
  }
  return t;
}

double chunk_seconds(const CollectiveSpec& spec, Collective c, const GroupLinks& links, Bytes bytes,
                     Algorithm a, Protocol p) {
  return Steps(spec, c, links, d(bytes.count()), a, p).seconds();
}

bool has_chunk_model(Collective c, const GroupLinks& l, Algorithm a) {
  constexpr int64_t kMostMessages = 3'000'000;
  if (l.ranks < 2) return false;
  switch (a) {
    case Algorithm::kRing: {
      const int64_t lanes = l.nodes > 1 ? l.per_node() : 1;
      return lanes * l.ranks * l.ranks * (c == Collective::kAllReduce ? 2 : 1) <= kMostMessages;
    }
    case Algorithm::kTree:
      return l.per_node() == 1;
    case Algorithm::kNvls:
      return c == Collective::kAllReduce;
    case Algorithm::kDirect:
      return l.ranks * l.ranks <= kMostMessages;
    default:
      return false;
  }
}

}  // namespace orrery
