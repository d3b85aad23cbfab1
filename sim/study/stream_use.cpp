#include "sim/study/stream_use.h"

#include <algorithm>
#include <utility>

namespace orrery {
namespace {

using Interval = std::pair<double, double>;

// Disjoint intervals, ascending, of those that are given by their starts.
std::vector<Interval> merged(const std::vector<Interval>& sorted) {
  std::vector<Interval> out;
  for (const Interval& i : sorted) {
    if (!out.empty() && i.first <= out.back().second)
      out.back().second = std::max(out.back().second, i.second);
    else
      out.push_back(i);
  }
  return out;
}

double length(const std::vector<Interval>& disjoint) {
  double sum = 0;
  for (const Interval& i : disjoint) sum += i.second - i.first;
  return sum;
}

double common(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  double sum = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    sum += std::max(0.0, std::min(a[i].second, b[j].second) - std::max(a[i].first, b[j].first));
    a[i].second < b[j].second ? ++i : ++j;
  }
  return sum;
}

// The next op of a track, by start.
void add(TrackUse& use, const TimelineOp*& last, const TimelineOp& o) {
  ++use.ops;
  if (last == nullptr) {
    use.busy_us += o.end_us - o.start_us;
    last = &o;
    return;
  }
  if (o.start_us > last->end_us) {
    use.gaps.push_back({last, &o});
    use.idle_us += o.start_us - last->end_us;
  }
  use.busy_us += std::max(0.0, o.end_us - std::max(o.start_us, last->end_us));
  if (o.end_us >= last->end_us) last = &o;
}

}  // namespace

const Gap* TrackUse::longest() const {
  const auto it = std::max_element(gaps.begin(), gaps.end(),
                                   [](const Gap& a, const Gap& b) { return a.us() < b.us(); });
  return it == gaps.end() ? nullptr : &*it;
}

std::vector<TrackUse> track_use(const Timeline& timeline, const RankTimeline& rank) {
  std::vector<TrackUse> tracks;
  std::vector<std::size_t> of_stream;
  for (const TimelineStream& s : timeline.streams) {
    const auto it = std::find_if(tracks.begin(), tracks.end(),
                                 [&](const TrackUse& u) { return u.track == s.track; });
    of_stream.push_back(static_cast<std::size_t>(it - tracks.begin()));
    if (it == tracks.end()) tracks.emplace_back().track = s.track;
  }
  std::vector<const TimelineOp*> last(tracks.size(), nullptr);
  for (const TimelineOp& o : rank.ops)
    add(tracks[of_stream[o.stream]], last[of_stream[o.stream]], o);
  std::erase_if(tracks, [](const TrackUse& u) { return u.ops == 0; });
  return tracks;
}

Overlap overlap(const Timeline& timeline, const RankTimeline& rank) {
  std::vector<Interval> compute, communication;
  for (const TimelineOp& o : rank.ops)
    (timeline.oper(o).communication ? communication : compute).emplace_back(o.start_us, o.end_us);
  compute = merged(compute);
  communication = merged(communication);
  Overlap v;
  v.span_us = window(rank).length_us();
  v.compute_us = length(compute);
  v.communication_us = length(communication);
  v.hidden_us = common(compute, communication);
  return v;
}

}  // namespace orrery
