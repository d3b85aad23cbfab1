#include "sim/report/sweep.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "sim/base/text.h"
#include "sim/report/json.h"
#include "sim/study/interval.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

// A value as it was written: JSON where it is JSON, else a string.
Json value_json(const std::string& text) {
  Json j = Json::parse(text, nullptr, false);
  return j.is_discarded() ? Json(text) : j;
}

std::string_view outcome(const SweepPoint& p) {
  return kSweepOutcomes[static_cast<std::size_t>(p.outcome)];
}

Json point_json(const SweepSpec& spec, const SweepPoint& p) {
  Json j;
  for (std::size_t a = 0; a < spec.axes.size(); ++a)
    j["values"][spec.axes[a].pointer] = value_json(p.values[a]);
  j["outcome"] = outcome(p);
  if (!p.note.empty()) j["note"] = p.note;
  if (!p.simulated()) return j;
  j["step_time_s"] = p.step_time_s;
  j["tokens_per_s_per_gpu"] = p.tokens_per_s_per_gpu;
  j["mfu"] = p.mfu;
  if (spec.fidelity == Fidelity::kAnalytic) return j;
  j["peak_memory_GiB"] = p.peak_memory_GiB;
  j["cost_usd"] = p.cost_usd;
  const auto bounds = [](double figure, const Predictive::Factors& f) {
    return Json{{"low", figure * f.low}, {"high", figure * f.high}};
  };
  if (p.time_factors) j["interval"]["step_time_s"] = bounds(p.step_time_s, *p.time_factors);
  if (p.memory_factors)
    j["interval"]["peak_memory_GiB"] = bounds(p.peak_memory_GiB, *p.memory_factors);
  return j;
}

// Quoted as RFC 4180 wants it.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

std::string bound_cells(double figure, const std::optional<Predictive::Factors>& f) {
  return f ? fmt::format("{},{},", figure * f->low, figure * f->high) : ",,";
}

// Bounds of the step's time.
std::string range(const SweepPoint& p) {
  if (!p.time_factors) return "";
  return fmt::format("{:.3f} to {:.3f}", p.step_time_s * p.time_factors->low,
                     p.step_time_s * p.time_factors->high);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

std::string sweep_text(const SweepSpec& spec, const std::vector<SweepPoint>& points) {
  const bool flow = spec.fidelity == Fidelity::kFlow;
  Table t;
  std::vector<std::string> head;
  for (const SweepAxis& a : spec.axes) head.push_back(a.pointer);
  head.emplace_back(flow ? "step s" : "step s, at least");
  if (flow) head.push_back(fmt::format("{:.0f} %", 100 * kIntervalLevel));
  for (const char* h : {"tokens/s/GPU", "MFU %"}) head.emplace_back(h);
  if (flow) head.emplace_back("peak GiB");
  head.emplace_back("");
  t.row(head);
  for (const SweepPoint& p : points) {
    std::vector<std::string> row = p.values;
    if (p.simulated()) {
      row.push_back(fmt::format("{:.3f}", p.step_time_s));
      if (flow) row.push_back(range(p));
      row.push_back(fmt::format("{:.1f}", p.tokens_per_s_per_gpu));
      row.push_back(fmt::format("{:.2f}", 100 * p.mfu));
      if (flow) row.push_back(fmt::format("{:.1f}", p.peak_memory_GiB));
      row.emplace_back(p.outcome == SweepPoint::Outcome::kFits ? "" : "does not fit");
    } else {
      row.resize(head.size() - 1, "-");
      row.emplace_back(outcome(p));
    }
    t.row(row);
  }
  std::string out = t.str("");
  for (const SweepPoint& p : points) {
    if (p.simulated()) continue;
    std::string values;
    for (std::size_t a = 0; a < p.values.size(); ++a)
      values += fmt::format("{}{}={}", a == 0 ? "" : " ", spec.axes[a].pointer, p.values[a]);
    out += fmt::format("{}: {}\n", values, p.note);
  }
  return out;
}

std::string sweep_json(const SweepSpec& spec, const std::vector<SweepPoint>& points) {
  Json j;
  j["schema_version"] = kSchemaVersion;
  j["fidelity"] = spec.fidelity == Fidelity::kFlow ? "flow" : "analytic";
  j["points"] = Json::array();
  for (const SweepPoint& p : points) j["points"].push_back(point_json(spec, p));
  return j.dump(2) + "\n";
}

std::string sweep_jsonl(const SweepSpec& spec, const std::vector<SweepPoint>& points) {
  std::string out;
  for (const SweepPoint& p : points) out += point_json(spec, p).dump() + "\n";
  return out;
}

std::string sweep_csv(const SweepSpec& spec, const std::vector<SweepPoint>& points) {
  std::string out;
  for (const SweepAxis& a : spec.axes) out += csv_cell(a.pointer) + ",";
  out +=
      "outcome,step_time_s,tokens_per_s_per_gpu,mfu,peak_memory_GiB,cost_usd,step_time_low_s,"
      "step_time_high_s,peak_memory_low_GiB,peak_memory_high_GiB,note\n";
  for (const SweepPoint& p : points) {
    for (const std::string& v : p.values) out += csv_cell(v) + ",";
    out += outcome(p);
    if (p.simulated())
      out += fmt::format(",{},{},{},{},{},", p.step_time_s, p.tokens_per_s_per_gpu, p.mfu,
                         p.peak_memory_GiB, p.cost_usd);
    else
      out += ",,,,,,";
    out += bound_cells(p.step_time_s, p.time_factors);
    out += bound_cells(p.peak_memory_GiB, p.memory_factors);
    out += csv_cell(first_line(p.note)) + "\n";
  }
  return out;
}

}  // namespace orrery
