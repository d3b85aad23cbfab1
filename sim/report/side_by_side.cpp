#include "sim/report/side_by_side.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "sim/base/text.h"
#include "sim/base/units.h"

namespace orrery {
namespace {

std::string ms(double us) { return fmt::format("{:.3f}", us / 1000); }
std::string signed_ms(double us) { return fmt::format("{:+.3f}", us / 1000); }

// Rows that a text shows of so many.
std::size_t shown(std::size_t rows, int top) {
  return top <= 0 ? rows : std::min(rows, static_cast<std::size_t>(top));
}

std::string left_out(std::size_t rows, std::size_t shown) {
  return rows > shown ? fmt::format("  and {} more (--top 0 shows all, --json too)\n",
                                    with_commas(static_cast<long long>(rows - shown)))
                      : "";
}

std::string overlap_text(const SideBySide& s, const Sides& sides) {
  const Overlap &p = s.predicted, &m = s.measured;
  Table t;
  t.row({"", sides.first, sides.second, sides.difference});
  const auto row = [&](const char* name, double a, double b) {
    t.row({name, ms(a), ms(b), difference_text(sides, a, b)});
  };
  row("compute", p.compute_us, m.compute_us);
  if (p.communication_us > 0 || m.communication_us > 0) {
    row("exposed communication", p.exposed_us(), m.exposed_us());
  }
  row("idle", p.idle_us(), m.idle_us());
  t.rule();
  row("first op to last", p.span_us, m.span_us);
  if (p.communication_us > 0 || m.communication_us > 0) {
    row("communication, all", p.communication_us, m.communication_us);
    t.row({"of it hidden behind compute", percent(p.hidden_fraction()),
           percent(m.hidden_fraction())});
  }
  return "\nWhere the time of a rank goes, ms\n" + t.str();
}

double track_miss(const ComparedTrack& t) {
  return std::abs(t.predicted.busy_us - t.measured.busy_us);
}

std::string track_name(const ComparedTrack& t, bool classes) {
  return classes ? fmt::format("pipeline rank {} {}", t.rank_class, t.track) : t.track;
}

std::string tracks_text(const SideBySide& s, const Sides& sides, int top) {
  std::vector<ComparedTrack> tracks = s.tracks;
  std::stable_sort(tracks.begin(), tracks.end(),
                   [](const auto& a, const auto& b) { return track_miss(a) > track_miss(b); });
  std::set<int> classes;
  for (const ComparedTrack& t : tracks) classes.insert(t.rank_class);
  Table t;
  t.row({"", sides.first + " busy", sides.second, sides.difference, sides.first + " idle",
         sides.second, sides.first + " gap", sides.second});
  const std::size_t n = shown(tracks.size(), top);
  for (std::size_t i = 0; i < n; ++i) {
    const TrackSide &p = tracks[i].predicted, &m = tracks[i].measured;
    t.row({track_name(tracks[i], classes.size() > 1), ms(p.busy_us), ms(m.busy_us),
           difference_text(sides, p.busy_us, m.busy_us), ms(p.idle_us), ms(m.idle_us),
           ms(p.longest_us), ms(m.longest_us)});
  }
  return "\nStreams, ms: with ops, idle between them, longest gap\n" + t.str() +
         left_out(tracks.size(), n);
}

std::string gaps_text(const SideBySide& s, const Sides& sides, int top) {
  if (s.gaps.empty()) return "";
  // Of two programs that share no names only the measured gaps are known.
  const bool both = std::any_of(s.gaps.begin(), s.gaps.end(),
                                [](const ComparedGap& g) { return g.predicted_us > 0; });
  Table t;
  if (both)
    t.row({"", "gaps", sides.first, sides.second, "difference", "longest"});
  else
    t.row({"", "gaps", sides.second, "longest"});
  const std::size_t n = shown(s.gaps.size(), top > 0 ? (top + 1) / 2 : 0);
  for (std::size_t i = 0; i < n; ++i) {
    const ComparedGap& g = s.gaps[i];
    std::vector<std::string> cells = {fmt::format("{} -> {}{}", g.after, g.before,
                                                  g.beside.empty() ? "" : ", during " + g.beside),
                                      fmt::format("{:.0f}", g.gaps)};
    if (both) cells.push_back(ms(g.predicted_us));
    cells.push_back(ms(g.measured_us));
    if (both) cells.push_back(signed_ms(sides.miss(g.predicted_us, g.measured_us)));
    cells.push_back(ms(g.longest_us));
    t.row(std::move(cells));
  }
  return "\nGaps in the computation of a rank, ms, largest differences first\n" + t.str() +
         left_out(s.gaps.size(), n);
}

// One unit for a table, by its largest value.
struct ByteUnit {
  explicit ByteUnit(int64_t largest) : gib(largest >= (int64_t{1} << 30)) {}
  bool gib;
  const char* name() const { return gib ? "GiB" : "MiB"; }
  std::string text(int64_t bytes) const {
    if (bytes < 0) return "-";
    return fmt::format("{:.{}f}", static_cast<double>(bytes) / (gib ? kBytesPerGiB : 1 << 20),
                       gib ? 3 : 2);
  }
};

bool measured_memory(const SideBySide& s) {
  return std::any_of(s.memory.begin(), s.memory.end(),
                     [](const ComparedMemory& m) { return m.measured_peak >= 0; });
}

std::string memory_text(const SideBySide& s, const Sides& sides, int top) {
  int64_t largest = 0;
  for (const ComparedMemory& m : s.memory)
    largest = std::max({largest, m.predicted_peak, m.measured_peak});
  if (largest == 0) return "";
  const ByteUnit unit(largest);
  if (!measured_memory(s))
    return fmt::format("\nMemory: the trace says nothing of it; the {} peak is {} {}{}\n",
                       sides.first, unit.text(largest), unit.name(),
                       s.memory.size() > 1 ? ", of the fullest rank" : "");
  Table t;
  t.row({"", sides.first, sides.second, sides.difference});
  std::string where;
  const std::size_t n = shown(s.memory.size(), top);
  for (std::size_t i = 0; i < n; ++i) {
    const ComparedMemory& m = s.memory[i];
    t.row({fmt::format("peak of rank {}", m.rank), unit.text(m.predicted_peak),
           unit.text(m.measured_peak),
           m.predicted_peak > 0 && m.measured_peak > 0
               ? difference_text(sides, static_cast<double>(m.predicted_peak),
                                 static_cast<double>(m.measured_peak))
               : "-"});
    if (i > 0) continue;
    if (!m.predicted_at.empty())
      where += fmt::format("  {} peak of rank {} at {}\n", sides.first, m.rank, m.predicted_at);
    if (!m.measured_at.empty())
      where += fmt::format("  {} peak of rank {} at {}\n", sides.second, m.rank, m.measured_at);
    if (m.ops > 0)
      where += fmt::format("  at the same {} ops {} off on average; largest at {}: {} and {}\n",
                           with_commas(m.ops), percent(m.mean_error), m.largest_at,
                           unit.text(m.predicted_there), unit.text(m.measured_there));
  }
  return fmt::format("\nMemory, {}, without what the stack reserves\n", unit.name()) + t.str() +
         left_out(s.memory.size(), n) + where;
}

}  // namespace

double Sides::fraction(double a, double b) const {
  const double base = relative_to_first ? a : b;
  return base > 0 ? (relative_to_first ? b : a) / base - 1 : 0;
}

Sides predicted_and_measured() { return {"predicted", "measured", "error", false}; }
Sides two_runs() { return {"a", "b", "change", true}; }

std::string difference_text(const Sides& sides, double a, double b) {
  return a > 0 && b > 0 ? signed_percent(sides.fraction(a, b)) : "-";
}

std::string rows_text(const std::string& title, std::vector<ComparedRow> rows, const Sides& sides,
                      int top, const std::string& counts) {
  largest_misses_first(rows);
  Table t;
  std::vector<std::string> header = {"", sides.first, sides.second, "difference", sides.difference};
  if (!counts.empty()) header.push_back(counts);
  t.row(std::move(header));
  const std::size_t n = shown(rows.size(), top);
  for (std::size_t i = 0; i < n; ++i) {
    const ComparedRow& r = rows[i];
    std::vector<std::string> cells = {r.name.empty() ? "(none)" : r.name, ms(r.predicted_us),
                                      ms(r.measured_us),
                                      signed_ms(sides.miss(r.predicted_us, r.measured_us)),
                                      difference_text(sides, r.predicted_us, r.measured_us)};
    if (!counts.empty())
      cells.push_back(r.predicted_count == r.measured_count
                          ? std::to_string(r.predicted_count)
                          : fmt::format("{} / {}", r.predicted_count, r.measured_count));
    t.row(std::move(cells));
  }
  return fmt::format("\n{}, ms, largest differences first\n", title) + t.str() +
         left_out(rows.size(), n);
}

std::string side_by_side_text(const SideBySide& s, const Sides& sides, int top) {
  return tracks_text(s, sides, top) + gaps_text(s, sides, top) + memory_text(s, sides, top);
}

std::string where_time_goes_text(const SideBySide& s, const Sides& sides) {
  return overlap_text(s, sides);
}

}  // namespace orrery
