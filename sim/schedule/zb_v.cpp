#include <algorithm>
#include <deque>
#include <tuple>

#include "sim/schedule/schedule.h"

namespace orrery {
namespace {

struct Rule {
  bool backward_first;        // before a forward that could start at the same time
  bool first_chunk_backward;  // of two backwards, that of the first chunk
};
constexpr Rule kRules[4] = {{true, true}, {true, false}, {false, true}, {false, false}};

// Runs all ranks at once, each as its rule says, and notes what each does.
class Search {
 public:
  Search(int ranks, int micro_batches, const ChunkTimes& times, Rule rule)
      : p_(ranks), m_(micro_batches), times_(times), rule_(rule) {
    ranks_.resize(static_cast<std::size_t>(p_));
    const auto n = static_cast<std::size_t>(2 * p_ * m_);
    forward_done_.assign(n, -1);
    backward_done_.assign(n, -1);
    for (int r = 0; r < p_; ++r) {
      RankSchedule& s = ranks_[static_cast<std::size_t>(r)].schedule;
      s.stage_of_chunk = {r, 2 * p_ - 1 - r};
      s.first_batch_of_chunk = {0, 0};
      s.batches_per_chunk = m_;
    }
  }

  // The length of the step.
  int64_t run() {
    for (int left = 6 * p_ * m_; left > 0; --left) {
      int best_rank = -1;
      Option best;
      for (int r = 0; r < p_; ++r) {
        const Option o = next(r);
        if (best_rank < 0 || o < best) best = o, best_rank = r;
      }
      start(best_rank, best);
    }
    int64_t end = 0;
    for (const Rank& r : ranks_) end = std::max(end, r.free_at);
    return end;
  }

  std::vector<RankSchedule> take() {
    std::vector<RankSchedule> all;
    for (Rank& r : ranks_) all.push_back(std::move(r.schedule));
    return all;
  }

 private:
  enum class Kind : uint8_t { kForward, kBackward, kWeight, kNone };
  struct Option {
    int64_t start = INT64_MAX;
    int order = 0;
    Kind kind = Kind::kNone;
    int chunk = 0, batch = 0;
    bool operator<(const Option& o) const {
      return std::tie(start, order) < std::tie(o.start, o.order);
    }
  };
  struct Rank {
    RankSchedule schedule;
    int64_t free_at = 0;
    int held = 0;  // chunks of micro-batches whose activations it has
    int forwards[2] = {0, 0}, backwards[2] = {0, 0};
    std::deque<std::pair<int, int>> weights;  // put off: chunk, micro-batch
  };

  int stage(int rank, int chunk) const { return chunk == 0 ? rank : 2 * p_ - 1 - rank; }
  int64_t& done(std::vector<int64_t>& of, int stage, int batch) {
    return of[static_cast<std::size_t>(stage * m_ + batch)];
  }

  // What the rank may start first; of several the first in the order of the rule.
  Option next(int rank) {
    const Rank& r = ranks_[static_cast<std::size_t>(rank)];
    Option best;
    const auto offer = [&](int64_t ready, int order, Kind kind, int chunk, int batch) {
      if (ready < 0) return;
      const Option o{std::max(ready, r.free_at), order, kind, chunk, batch};
      if (o < best) best = o;
    };
    for (const int c : {1, 0}) {
      const int s = stage(rank, c);
      const int f = r.forwards[c], b = r.backwards[c];
      if (f < m_ && r.held < 2 * p_)
        offer(s == 0 ? 0 : done(forward_done_, s - 1, f), (rule_.backward_first ? 2 : 0) + 1 - c,
              Kind::kForward, c, f);
      if (b < f)
        offer(s == 2 * p_ - 1 ? done(forward_done_, s, b) : done(backward_done_, s + 1, b),
              (rule_.backward_first ? 0 : 2) + (rule_.first_chunk_backward ? c : 1 - c),
              Kind::kBackward, c, b);
    }
    if (!r.weights.empty())
      offer(r.free_at, 4, Kind::kWeight, r.weights.front().first, r.weights.front().second);
    return best;
  }

  void start(int rank, const Option& o) {
    Rank& r = ranks_[static_cast<std::size_t>(rank)];
    auto& steps = r.schedule.steps;
    switch (o.kind) {
      case Kind::kForward:
        r.free_at = o.start + times_.forward;
        done(forward_done_, stage(rank, o.chunk), o.batch) = r.free_at;
        ++r.forwards[o.chunk];
        ++r.held;
        steps.push_back({BlockKind::kForward, o.chunk, o.batch});
        break;
      case Kind::kBackward:
        r.free_at = o.start + times_.backward;
        done(backward_done_, stage(rank, o.chunk), o.batch) = r.free_at;
        ++r.backwards[o.chunk];
        r.weights.emplace_back(o.chunk, o.batch);
        steps.push_back({BlockKind::kBackwardInput, -1, -1, o.chunk, o.batch});
        break;
      case Kind::kWeight:
        r.free_at = o.start + times_.weight;
        r.weights.pop_front();
        --r.held;
        steps.push_back({BlockKind::kWeight, -1, -1, o.chunk, o.batch});
        break;
      case Kind::kNone:
        break;
    }
  }

  int p_, m_;
  ChunkTimes times_;
  Rule rule_;
  std::vector<Rank> ranks_;
  std::vector<int64_t> forward_done_, backward_done_;  // [stage, micro-batch]; -1: not yet
};

}  // namespace

std::vector<RankSchedule> schedule_zb_v(int ranks, int micro_batches, const ChunkTimes& times) {
  std::vector<RankSchedule> best;
  int64_t shortest = INT64_MAX;
  for (const Rule rule : kRules) {
    Search search(ranks, micro_batches, times, rule);
    const int64_t length = search.run();
    if (length < shortest) shortest = length, best = search.take();
  }
  return best;
}

}  // namespace orrery
