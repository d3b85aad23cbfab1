#include "sim/report/validate.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "sim/base/text.h"
#include "sim/report/json.h"
#include "sim/study/interval.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

std::string figure_text(double v) {
  return v >= 1000 ? with_commas(static_cast<long long>(v + 0.5)) : fmt::format("{:.4g}", v);
}

void summary_rows(Table& t, const std::vector<ErrorSummary>& summaries) {
  t.row({"", "cases", "median", "90th", "largest", "bias"});
  for (const ErrorSummary& s : summaries)
    t.row({s.name, std::to_string(s.cases), percent(s.median), percent(s.p90), percent(s.largest),
           signed_percent(s.bias)});
}

std::string coverage_text(const std::vector<Coverage>& coverage) {
  if (coverage.empty()) return "";
  Table t;
  t.row({fmt::format("{:.0f} % intervals", 100 * kIntervalLevel), "cases", "covered", ""});
  for (const Coverage& c : coverage)
    t.row({c.name, std::to_string(c.cases), std::to_string(c.covered), percent(c.fraction())});
  return "\n" + t.str();
}

std::string stale_text(const Validation& v) {
  if (v.stale.empty()) return "";
  return fmt::format(
      "\nthe residuals that the intervals come from are not those of this tree for {} fitted "
      "figures, {} the first; orrery validate --residuals FILE writes them anew\n",
      v.stale.size(), v.stale.front());
}

Json coverage_json(const std::vector<Coverage>& coverage) {
  Json j = Json::array();
  for (const Coverage& c : coverage)
    j.push_back({{"name", c.name},
                 {"cases", c.cases},
                 {"covered", c.covered},
                 {"covered_fraction", c.fraction()}});
  return j;
}

std::string orders_text(const Validation& v) {
  if (v.ordered_pairs == 0) return "";
  std::string out =
      fmt::format("\n{} of {} published orders come out as published\n",
                  v.ordered_pairs - static_cast<int>(v.wrong_orders.size()), v.ordered_pairs);
  for (const WrongOrder& w : v.wrong_orders)
    out += fmt::format("  {}: {} should be faster than {}\n", w.group, w.faster, w.slower);
  return out;
}

Json summary_json(const ErrorSummary& s) {
  return {{"name", s.name},
          {"cases", s.cases},
          {"median_fraction", s.median},
          {"p90_fraction", s.p90},
          {"largest_fraction", s.largest},
          {"bias_fraction", s.bias}};
}

}  // namespace

std::string validation_text(const Validation& v) {
  std::string out;
  for (const bool memory : {false, true}) {
    Table t;
    t.row({"", "published", "predicted", "90 %: from", "to", "", "error", "", "figure"});
    for (const ValidationResult& r : v.results) {
      if (r.memory != memory || !r.problem.empty()) continue;
      t.row({r.name, figure_text(r.published), figure_text(r.predicted),
             r.has_interval() ? figure_text(r.low) : "",
             r.has_interval() ? figure_text(r.high) : "",
             r.has_interval() && !r.covered() ? "outside" : "", signed_percent(r.error()),
             r.fitted ? "fitted" : "", r.figure});
    }
    const std::vector<ErrorSummary>& summaries = memory ? v.memory : v.time;
    if (summaries.empty()) continue;
    out += memory ? "\nMemory\n" : "Time (errors are of the step's time)\n";
    Table s;
    summary_rows(s, summaries);
    out += t.str() + "\n" + s.str() + coverage_text(memory ? v.memory_coverage : v.time_coverage);
  }
  for (const ValidationResult& r : v.results)
    if (!r.problem.empty()) out += fmt::format("\nnot predicted: {}: {}", r.name, r.problem);
  return out + orders_text(v) + stale_text(v);
}

std::string validation_json(const Validation& v) {
  Json j;
  j["schema_version"] = kSchemaVersion;
  j["cases"] = Json::array();
  for (const ValidationResult& r : v.results) {
    Json c = {{"name", r.name},           {"family", r.family}, {"published", r.published},
              {"predicted", r.predicted}, {"error", nullptr},   {"unit", r.figure},
              {"fitted", r.fitted}};
    if (r.problem.empty())
      c["error"] = r.error();
    else
      c["predicted"] = nullptr, c["problem"] = r.problem;
    if (r.has_interval())
      c["interval"] = {{"low", r.low},
                       {"high", r.high},
                       {"covers", r.covered()},
                       {"basis", kErrorBasisNames[static_cast<std::size_t>(r.basis)]}};
    if (!r.missing.empty()) c["suspected_missing"] = r.missing;
    j["cases"].push_back(std::move(c));
  }
  Json& s = j["summary"];
  s["time"] = Json::array(), s["memory"] = Json::array();
  for (const ErrorSummary& e : v.time) s["time"].push_back(summary_json(e));
  for (const ErrorSummary& e : v.memory) s["memory"].push_back(summary_json(e));
  s["coverage"] = {{"level", kIntervalLevel},
                   {"time", coverage_json(v.time_coverage)},
                   {"memory", coverage_json(v.memory_coverage)},
                   {"stale_residuals", v.stale}};
  s["ordered_pairs"] = v.ordered_pairs;
  s["wrong_orders"] = Json::array();
  for (const WrongOrder& w : v.wrong_orders)
    s["wrong_orders"].push_back({{"group", w.group}, {"faster", w.faster}, {"slower", w.slower}});
  return j.dump(2) + "\n";
}

std::string validation_markdown(const Validation& v) {
  std::string out =
      "| | cases | median | 90th percentile | largest | bias |\n|---|---|---|---|---|---|\n";
  const auto rows = [&](const std::vector<ErrorSummary>& summaries, const char* what) {
    for (const ErrorSummary& s : summaries)
      out += fmt::format("| {}{} | {} | {} | {} | {} | {} |\n", what, s.name, s.cases,
                         percent(s.median), percent(s.p90), percent(s.largest),
                         signed_percent(s.bias));
  };
  rows(v.time, "step time, ");
  rows(v.memory, "memory, ");
  if (!v.time_coverage.empty() || !v.memory_coverage.empty())
    out += fmt::format("\n| {:.0f} % intervals | cases | cover | |\n|---|---|---|---|\n",
                       100 * kIntervalLevel);
  const auto coverage = [&](const std::vector<Coverage>& of, const char* what) {
    for (const Coverage& c : of)
      out += fmt::format("| {}{} | {} | {} | {} |\n", what, c.name, c.cases, c.covered,
                         percent(c.fraction()));
  };
  coverage(v.time_coverage, "step time, ");
  coverage(v.memory_coverage, "memory, ");
  out +=
      "\n| case | published | predicted | error | | suspected to be missing "
      "|\n|---|---|---|---|---|---|\n";
  for (const ValidationResult& r : v.results)
    out += fmt::format("| {} ({}) | {} | {} | {} | {} | {} |\n", r.name, r.figure,
                       figure_text(r.published), r.problem.empty() ? figure_text(r.predicted) : "-",
                       r.problem.empty() ? signed_percent(r.error()) : "not predicted",
                       r.fitted ? "fitted" : "", r.problem.empty() ? r.missing : r.problem);
  return out;
}

}  // namespace orrery
