#include "sim/study/compare_gaps.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "sim/study/stream_use.h"

namespace orrery {
namespace {

using Id = std::pair<uint32_t, uint32_t>;  // call, op
using Between = std::pair<Id, Id>;

Id id_of(const TimelineOp& o) { return {o.call, o.op}; }

// When a rank computes and when it does not.
class Computation {
 public:
  Computation(const Timeline& t, const RankTimeline& r) : timeline_(t), rank_(r) {
    const TimelineOp* last = nullptr;  // to end
    for (const TimelineOp& o : r.ops) {
      ops_.try_emplace(id_of(o), &o);
      if (t.oper(o).communication) {
        communication_.push_back(&o);
        continue;
      }
      if (last != nullptr && o.start_us > last->end_us) gaps_.push_back({last, &o});
      if (last == nullptr || o.end_us >= last->end_us) last = &o;
    }
    for (const Gap& g : gaps_) idle_.push_back((idle_.empty() ? 0 : idle_.back()) + g.us());
  }

  const std::vector<Gap>& gaps() const { return gaps_; }
  int64_t rank() const { return rank_.rank; }
  const std::string& name(const TimelineOp& o) const { return timeline_.oper(o).group; }

  // Idle time between two ops; 0 when one is not there or they come the other way round.
  double idle(const Between& b) const {
    const auto before = ops_.find(b.first), after = ops_.find(b.second);
    if (before == ops_.end() || after == ops_.end()) return 0;
    return std::max(0.0, idle_until(after->second->start_us) - idle_until(before->second->end_us));
  }

  // Asked for gaps in order of time. The op that communicates for most of it.
  const TimelineOp* beside(const Gap& g) {
    const double begin = g.before->end_us, end = g.after->start_us;
    while (next_ < communication_.size() && communication_[next_]->end_us <= begin) ++next_;
    const TimelineOp* most = nullptr;
    double longest = 0;
    for (std::size_t i = next_; i < communication_.size(); ++i) {
      const TimelineOp& o = *communication_[i];
      if (o.start_us >= end) break;
      const double common = std::min(end, o.end_us) - std::max(begin, o.start_us);
      if (common > longest) longest = common, most = &o;
    }
    return most;
  }

 private:
  // Idle time from the first computing op to `us`.
  double idle_until(double us) const {
    const auto next = std::partition_point(gaps_.begin(), gaps_.end(),
                                           [&](const Gap& g) { return g.before->end_us < us; });
    if (next == gaps_.begin()) return 0;
    const auto i = static_cast<std::size_t>(next - gaps_.begin()) - 1;
    return idle_[i] - std::max(0.0, gaps_[i].after->start_us - us);
  }

  const Timeline& timeline_;
  const RankTimeline& rank_;
  std::map<Id, const TimelineOp*> ops_;
  std::vector<const TimelineOp*> communication_;  // by start
  std::size_t next_ = 0;                          // the first that may still run
  std::vector<Gap> gaps_;
  std::vector<double> idle_;  // up to and with each gap
};

class Groups {
 public:
  // A gap of the measured rank, and one that only the predicted one has.
  void add_measured(Computation& m, const Gap& g, double predicted_us, double weight) {
    ComparedGap& row = group(m, g);
    row.gaps += weight;
    row.predicted_us += weight * predicted_us;
    row.measured_us += weight * g.us();
    const TimelineOp* beside = m.beside(g);
    if (g.us() <= row.longest_us) return;
    row.longest_us = g.us(), row.longest_start_us = g.before->end_us;
    row.longest_rank = m.rank();
    row.beside = beside == nullptr ? "" : m.name(*beside);
  }
  void add_predicted(const Computation& p, const Gap& g, double measured_us, double weight) {
    ComparedGap& row = group(p, g);
    row.predicted_us += weight * g.us();
    row.measured_us += weight * measured_us;
  }

  std::vector<ComparedGap> take() {
    std::vector<ComparedGap> all;
    for (auto& [names, row] : rows_) all.push_back(std::move(row));
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return std::abs(a.miss_us()) > std::abs(b.miss_us());
    });
    return all;
  }

 private:
  ComparedGap& group(const Computation& c, const Gap& g) {
    const auto [it, fresh] = rows_.try_emplace({c.name(*g.before), c.name(*g.after)});
    if (fresh) std::tie(it->second.after, it->second.before) = it->first;
    return it->second;
  }
  std::map<std::pair<std::string, std::string>, ComparedGap> rows_;
};

const RankTimeline* same_rank(const Timeline& t, const RankTimeline& r) {
  const RankTimeline* of_class = nullptr;
  for (const RankTimeline& other : t.ranks) {
    if (other.rank_class != r.rank_class) continue;
    if (other.rank == r.rank) return &other;
    if (of_class == nullptr) of_class = &other;
  }
  return of_class;
}

void compare_rank(const Timeline& predicted, Computation& m, const RankTimeline* counterpart,
                  double weight, Groups& groups) {
  if (counterpart == nullptr) {
    for (const Gap& g : m.gaps()) groups.add_measured(m, g, 0, weight);
    return;
  }
  const Computation p(predicted, *counterpart);
  std::set<Between> seen;
  for (const Gap& g : m.gaps()) {
    const Between between{id_of(*g.before), id_of(*g.after)};
    seen.insert(between);
    groups.add_measured(m, g, p.idle(between), weight);
  }
  for (const Gap& g : p.gaps()) {
    const Between between{id_of(*g.before), id_of(*g.after)};
    if (seen.count(between) == 0) groups.add_predicted(p, g, m.idle(between), weight);
  }
}

}  // namespace

std::vector<ComparedGap> compare_gaps(const Timeline& predicted, const Timeline& measured,
                                      bool joined) {
  std::map<int, int> ranks;
  for (const RankTimeline& r : measured.ranks) ++ranks[r.rank_class];
  Groups groups;
  for (const RankTimeline& r : measured.ranks) {
    Computation m(measured, r);
    compare_rank(predicted, m, joined ? same_rank(predicted, r) : nullptr,
                 1.0 / ranks.at(r.rank_class), groups);
  }
  return groups.take();
}

}  // namespace orrery
