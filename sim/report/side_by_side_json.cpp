#include "sim/report/side_by_side.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

Json overlap_json(const Overlap& o) {
  return {{"span_us", o.span_us},
          {"compute_us", o.compute_us},
          {"communication_us", o.communication_us},
          {"hidden_us", o.hidden_us},
          {"hidden_fraction", o.hidden_fraction()},
          {"exposed_us", o.exposed_us()},
          {"idle_us", o.idle_us()}};
}

Json track_json(const TrackSide& t) {
  Json j = {{"busy_us", t.busy_us}, {"idle_us", t.idle_us}, {"gaps", t.gaps}};
  if (t.longest_us > 0)
    j["longest_gap"] = {{"us", t.longest_us}, {"after", t.after}, {"before", t.before}};
  return j;
}

Json gap_json(const ComparedGap& g, const Sides& sides) {
  Json j = {{"after", g.after}, {"before", g.before}, {"beside", g.beside}, {"gaps", g.gaps}};
  j[sides.first + "_us"] = g.predicted_us;
  j[sides.second + "_us"] = g.measured_us;
  j["longest"] = {{"us", g.longest_us}, {"start_us", g.longest_start_us}, {"rank", g.longest_rank}};
  return j;
}

Json bytes_json(int64_t bytes) { return bytes < 0 ? Json(nullptr) : Json(bytes); }

Json memory_json(const ComparedMemory& m, const Sides& sides) {
  const std::string a = sides.first, b = sides.second;
  Json j = {{"rank_class", m.rank_class}, {"rank", m.rank}};
  j[a + "_peak_bytes"] = bytes_json(m.predicted_peak);
  j[b + "_peak_bytes"] = bytes_json(m.measured_peak);
  j[a + "_peak_at"] = m.predicted_at;
  j[b + "_peak_at"] = m.measured_at;
  if (m.ops == 0) return j;
  j["ops"] = m.ops;
  j["mean_" + sides.difference + "_fraction"] = m.mean_error;
  j["largest_difference"] = {
      {"at", m.largest_at}, {a + "_bytes", m.predicted_there}, {b + "_bytes", m.measured_there}};
  j["calls"] = Json::array();
  for (const ComparedMemory::AtCall& c : m.calls)
    j["calls"].push_back(
        {{"call", c.call}, {a + "_bytes", c.predicted}, {b + "_bytes", c.measured}});
  return j;
}

}  // namespace

Json row_json(const ComparedRow& r, const Sides& sides) {
  Json j = {{"name", r.name}};
  j[sides.first + "_us"] = r.predicted_us;
  j[sides.second + "_us"] = r.measured_us;
  const double base = sides.relative_to_first ? r.predicted_us : r.measured_us;
  if (base > 0) j[sides.difference + "_fraction"] = sides.fraction(r.predicted_us, r.measured_us);
  return j;
}

void add_side_by_side(Json& j, const SideBySide& s, const Sides& sides) {
  j["overlap"] = {{sides.first, overlap_json(s.predicted)},
                  {sides.second, overlap_json(s.measured)}};
  j["streams"] = Json::array();
  for (const ComparedTrack& t : s.tracks)
    j["streams"].push_back({{"rank_class", t.rank_class},
                            {"stream", t.track},
                            {sides.first, track_json(t.predicted)},
                            {sides.second, track_json(t.measured)}});
  j["gaps"] = Json::array();
  for (const ComparedGap& g : s.gaps) j["gaps"].push_back(gap_json(g, sides));
  j["memory"] = Json::array();
  for (const ComparedMemory& m : s.memory) j["memory"].push_back(memory_json(m, sides));
}

}  // namespace orrery
