#include "sim/report/perfetto_pair.h"

#include <algorithm>
#include <map>
#include <set>

#include "sim/base/units.h"
#include "sim/report/trace_events.h"

namespace orrery {
namespace {

using Durations = std::map<std::pair<uint32_t, uint32_t>, double>;  // of (call, op)

class PairWriter {
 public:
  PairWriter(const std::string& title, const Sides& sides, bool joined)
      : sides_(sides), joined_(joined), out_(R"("traceName":)" + TraceEvents::quoted(title)) {}

  std::string write(const Timeline& first, const Timeline& second) {
    std::set<int> classes;
    for (const Timeline* t : {&first, &second})
      for (const RankTimeline& r : t->ranks) classes.insert(r.rank_class);
    for (int c : classes) {
      side(first, c, sides_.first, durations(second, c), sides_.second);
      side(second, c, sides_.second, durations(first, c), sides_.first);
    }
    return out_.finish();
  }

 private:
  // Of the class's first rank.
  Durations durations(const Timeline& t, int rank_class) const {
    Durations d;
    if (!joined_) return d;
    for (const RankTimeline& r : t.ranks) {
      if (r.rank_class != rank_class) continue;
      for (const TimelineOp& o : r.ops) d.try_emplace({o.call, o.op}, o.end_us - o.start_us);
      break;
    }
    return d;
  }

  void side(const Timeline& t, int rank_class, const std::string& name, const Durations& others,
            const std::string& other_name) {
    for (const RankTimeline& r : t.ranks) {
      if (r.rank_class != rank_class) continue;
      const std::size_t pid = next_pid_++;
      out_.name_process(pid, fmt::format("{} rank {}", name, r.rank));
      out_.event(
          R"({{"ph":"M","name":"process_sort_index","pid":{0},"args":{{"sort_index":{0}}}}})", pid);
      slices(t, r, pid, others, other_name);
      memory(r, pid);
    }
  }

  // Slices of a thread must not overlap, which kernels of a stream may by a little.
  void slices(const Timeline& t, const RankTimeline& r, std::size_t pid, const Durations& others,
              const std::string& other_name) {
    std::vector<double> end(t.streams.size(), 0);
    std::vector<bool> used(t.streams.size(), false);
    for (const TimelineOp& o : r.ops) {
      const Operator& oper = t.oper(o);
      const double start = used[o.stream] ? std::max(o.start_us, end[o.stream]) : o.start_us;
      end[o.stream] = std::max(start, o.end_us);
      used[o.stream] = true;
      std::string other;
      if (const auto it = others.find({o.call, o.op}); it != others.end())
        other = fmt::format(R"(,"{}_us":{:.3f})", other_name, it->second);
      out_.event(
          R"({{"ph":"X","cat":"kernel","name":{},"pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},)"
          R"("args":{{"kind":{},"call":{},"op":{}{}}}}})",
          TraceEvents::quoted(oper.name), pid, o.stream, start, end[o.stream] - start,
          TraceEvents::quoted(oper.kind), o.call, o.op, other);
    }
    for (std::size_t s = 0; s < t.streams.size(); ++s)
      if (used[s]) out_.name_thread(pid, s, t.streams[s].name);
  }

  // Samples closer than a screen can show are left out, but none that is above those before.
  void memory(const RankTimeline& r, std::size_t pid) {
    constexpr double kSamples = 5000;
    const double step = window(r).length_us() / kSamples;
    double next = 0;
    int64_t most = -1;
    for (const HeldBytes& h : r.memory) {
      if (h.time_us < next && h.bytes <= most) continue;
      next = h.time_us + step;
      most = std::max(most, h.bytes);
      out_.event(R"({{"ph":"C","name":"memory, GiB","pid":{},"tid":0,"ts":{:.3f},)"
                 R"("args":{{"held":{:.6f}}}}})",
                 pid, h.time_us, static_cast<double>(h.bytes) / kBytesPerGiB);
    }
  }

  const Sides& sides_;
  bool joined_;
  TraceEvents out_;
  std::size_t next_pid_ = 0;
};

}  // namespace

std::string side_by_side_trace(const std::string& title, const Timeline& first,
                               const Timeline& second, const Sides& sides, bool joined) {
  return PairWriter(title, sides, joined).write(first, second);
}

}  // namespace orrery
