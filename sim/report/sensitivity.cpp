#include "sim/report/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "sim/base/text.h"
#include "sim/report/json.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;
using Side = MovedConstant::Side;

std::string points(double v) { return fmt::format("{:+.2f}", 100 * v); }

// Change against the base of a number of the first summary (all cases) of the step's time.
std::string change(const Sensitivity& s, const Side& side, double ErrorSummary::*number) {
  if (!side.problem.empty() || side.time.empty()) return "-";
  return points(side.time.front().*number - s.base.time.front().*number);
}

double largest_change(const Sensitivity& s, const MovedConstant& m) {
  double most = 0;
  for (const Side& side : m.side)
    if (!side.time.empty())
      most = std::max(most, std::abs(side.time.front().bias - s.base.time.front().bias));
  return most;
}

// The family whose median moves most, either way.
std::string most_moved_family(const Sensitivity& s, const MovedConstant& m) {
  std::string out;
  double most = 0;
  for (int up = 0; up < 2; ++up)
    for (std::size_t i = 2; i < m.side[up].time.size() && i < s.base.time.size(); ++i) {
      const double by = m.side[up].time[i].median - s.base.time[i].median;
      if (std::abs(by) <= most) continue;
      most = std::abs(by);
      out = fmt::format("{} {} at {:+.0f} %", m.side[up].time[i].name, points(by),
                        up != 0 ? 100 * kMove : -100 * kMove);
    }
  return out;
}

bool changes_any(const MovedConstant& m) {
  return !m.side[0].changed.empty() || !m.side[1].changed.empty();
}

Json summaries_json(const std::vector<ErrorSummary>& now, const std::vector<ErrorSummary>& base) {
  Json out = Json::array();
  for (const ErrorSummary& e : now) {
    const auto of = std::find_if(base.begin(), base.end(),
                                 [&](const ErrorSummary& b) { return b.name == e.name; });
    Json j = {{"name", e.name}, {"median_fraction", e.median}, {"bias_fraction", e.bias}};
    if (of != base.end()) {
      j["median_change"] = e.median - of->median;
      j["bias_change"] = e.bias - of->bias;
    }
    out.push_back(std::move(j));
  }
  return out;
}

Json side_json(const Sensitivity& s, const Side& side) {
  if (!side.problem.empty()) return {{"problem", side.problem}};
  Json j;
  j["time"] = summaries_json(side.time, s.base.time);
  j["memory"] = summaries_json(side.memory, s.base.memory);
  j["changed"] = Json::array();
  for (const ValidationResult& r : side.changed) {
    Json c = {{"name", r.name}, {"figure", r.figure}, {"predicted", r.predicted}};
    if (r.problem.empty())
      c["error"] = r.error();
    else
      c["predicted"] = nullptr, c["problem"] = r.problem;
    j["changed"].push_back(std::move(c));
  }
  return j;
}

}  // namespace

std::string sensitivity_text(const Sensitivity& s) {
  if (s.base.time.empty()) return "no case has a figure of time that could be predicted\n";
  const ErrorSummary& all = s.base.time.front();
  std::string out = fmt::format(
      "{} cases: median error of the step's time {:.1f} %, bias {:+.1f} %. Changes in percentage "
      "points when one constant moves by {:g} %, those that move the bias most first\n",
      all.cases, 100 * all.median, 100 * all.bias, 100 * kMove);
  std::vector<const MovedConstant*> order;
  int still = 0;
  for (const MovedConstant& m : s.constants)
    changes_any(m) ? order.push_back(&m) : static_cast<void>(++still);
  std::stable_sort(order.begin(), order.end(), [&](const auto* a, const auto* b) {
    return largest_change(s, *a) > largest_change(s, *b);
  });
  Table t;
  t.row({"", "cases", "median -", "median +", "bias -", "bias +", "source", "most moved family"});
  for (const MovedConstant* m : order)
    t.row({m->name, std::to_string(m->cases), change(s, m->side[0], &ErrorSummary::median),
           change(s, m->side[1], &ErrorSummary::median), change(s, m->side[0], &ErrorSummary::bias),
           change(s, m->side[1], &ErrorSummary::bias), m->source, most_moved_family(s, *m)});
  out += t.str();
  if (still > 0) out += fmt::format("\n{} constants move no prediction\n", still);
  for (const MovedConstant& m : s.constants)
    for (int up = 0; up < 2; ++up)
      if (!m.side[up].problem.empty())
        out += fmt::format("cannot move by {}{:g} %: {}: {}\n", up != 0 ? "+" : "-", 100 * kMove,
                           m.name, m.side[up].problem);
  return out;
}

std::string sensitivity_json(const Sensitivity& s) {
  Json j;
  j["schema_version"] = kSchemaVersion;
  j["move_fraction"] = kMove;
  j["base"]["time"] = summaries_json(s.base.time, s.base.time);
  j["base"]["memory"] = summaries_json(s.base.memory, s.base.memory);
  j["constants"] = Json::array();
  for (const MovedConstant& m : s.constants)
    j["constants"].push_back({{"name", m.name},
                              {"source", m.source},
                              {"cases", m.cases},
                              {"down", side_json(s, m.side[0])},
                              {"up", side_json(s, m.side[1])}});
  return j.dump(2) + "\n";
}

}  // namespace orrery
