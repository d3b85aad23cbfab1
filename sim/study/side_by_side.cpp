#include "sim/study/side_by_side.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace orrery {
namespace {

std::vector<const RankTimeline*> of_class(const Timeline& t, int rank_class) {
  std::vector<const RankTimeline*> all;
  for (const RankTimeline& r : t.ranks)
    if (r.rank_class == rank_class) all.push_back(&r);
  return all;
}

std::set<int> classes(const Timeline& t) {
  std::set<int> all;
  for (const RankTimeline& r : t.ranks) all.insert(r.rank_class);
  return all;
}

void add(Overlap& to, const Overlap& o, double weight) {
  to.span_us += weight * o.span_us;
  to.compute_us += weight * o.compute_us;
  to.communication_us += weight * o.communication_us;
  to.hidden_us += weight * o.hidden_us;
}

Overlap mean_overlap(const Timeline& t) {
  Overlap mean;
  const std::set<int> all = classes(t);
  for (int c : all) {
    const auto ranks = of_class(t, c);
    for (const RankTimeline* r : ranks)
      add(mean, overlap(t, *r), 1.0 / static_cast<double>(all.size() * ranks.size()));
  }
  return mean;
}

void add(TrackSide& to, const Timeline& t, const TrackUse& u, double weight) {
  to.busy_us += weight * u.busy_us;
  to.idle_us += weight * u.idle_us;
  to.gaps += weight * static_cast<double>(u.gaps.size());
  const Gap* longest = u.longest();
  if (longest == nullptr || longest->us() <= to.longest_us) return;
  to.longest_us = longest->us();
  to.after = t.oper(*longest->before).name;
  to.before = t.oper(*longest->after).name;
}

// Tracks of a class in the order of their streams, those of the first timeline first.
class Tracks {
 public:
  explicit Tracks(int rank_class) : rank_class_(rank_class) {}

  void add_side(const Timeline& t, TrackSide ComparedTrack::*side) {
    const auto ranks = of_class(t, rank_class_);
    for (const RankTimeline* r : ranks)
      for (const TrackUse& u : track_use(t, *r))
        add(find(u.track).*side, t, u, 1.0 / static_cast<double>(ranks.size()));
  }
  std::vector<ComparedTrack> rows;

 private:
  ComparedTrack& find(const std::string& track) {
    for (ComparedTrack& row : rows)
      if (row.track == track) return row;
    rows.push_back({rank_class_, track, {}, {}});
    return rows.back();
  }
  int rank_class_;
};

using OpsById = std::map<std::pair<uint32_t, uint32_t>, const TimelineOp*>;  // call, op

OpsById by_id(const RankTimeline& r) {
  OpsById all;
  for (const TimelineOp& o : r.ops) all.try_emplace({o.call, o.op}, &o);
  return all;
}

// What both held at the ops that both have.
void compare_held(const Timeline& t, const RankTimeline& measured, const OpsById& predicted,
                  ComparedMemory& m) {
  std::map<uint32_t, ComparedMemory::AtCall> calls;
  double sum = 0;
  for (const TimelineOp& o : measured.ops) {
    const auto it = predicted.find({o.call, o.op});
    if (it == predicted.end() || o.held_bytes <= 0 || it->second->held_bytes < 0) continue;
    const int64_t there = it->second->held_bytes;
    ++m.ops;
    sum += std::abs(static_cast<double>(there) / static_cast<double>(o.held_bytes) - 1);
    if (m.largest_at.empty() ||
        std::abs(there - o.held_bytes) > std::abs(m.predicted_there - m.measured_there)) {
      m.largest_at = t.oper(o).name;
      m.predicted_there = there, m.measured_there = o.held_bytes;
    }
    auto& call = calls.try_emplace(o.call, ComparedMemory::AtCall{o.call, 0, 0}).first->second;
    call.predicted = std::max(call.predicted, there);
    call.measured = std::max(call.measured, o.held_bytes);
  }
  if (m.ops > 0) m.mean_error = sum / static_cast<double>(m.ops);
  for (const auto& [index, call] : calls) m.calls.push_back(call);
}

const RankTimeline* fullest(const std::vector<const RankTimeline*>& ranks) {
  const auto it = std::max_element(ranks.begin(), ranks.end(), [](const auto* a, const auto* b) {
    return a->peak_bytes < b->peak_bytes;
  });
  return it == ranks.end() ? nullptr : *it;
}

}  // namespace

void largest_misses_first(std::vector<ComparedRow>& rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return std::abs(a.miss_us()) > std::abs(b.miss_us());
  });
}

SideBySide put_side_by_side(const Timeline& predicted, const Timeline& measured, bool joined) {
  SideBySide s;
  s.predicted = mean_overlap(predicted);
  s.measured = mean_overlap(measured);
  for (int c : classes(measured)) {
    Tracks tracks(c);
    tracks.add_side(predicted, &ComparedTrack::predicted);
    tracks.add_side(measured, &ComparedTrack::measured);
    s.tracks.insert(s.tracks.end(), tracks.rows.begin(), tracks.rows.end());
    const auto first = of_class(predicted, c), second = of_class(measured, c);
    const RankTimeline *p = fullest(first), *m = fullest(second);
    if (p == nullptr) continue;
    const OpsById ops = joined ? by_id(*p) : OpsById{};
    ComparedMemory memory{
        c, m->rank, p->peak_bytes, m->peak_bytes, p->peak_at, m->peak_at, 0, 0, "", 0, 0, {}};
    if (joined) compare_held(measured, *m, ops, memory);
    s.memory.push_back(std::move(memory));
  }
  s.gaps = compare_gaps(predicted, measured, joined);
  return s;
}

}  // namespace orrery
