#include "sim/report/compare.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "sim/base/text.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

Json row_json(const ComparedRow& r) {
  Json j = {{"name", r.name},
            {"predicted_us", r.predicted_us},
            {"measured_us", r.measured_us},
            {"predicted_count", r.predicted_count},
            {"measured_count", r.measured_count}};
  if (r.measured_us > 0) j["error_fraction"] = r.error();
  return j;
}

Json rows_json(const std::vector<ComparedRow>& rows) {
  Json j = Json::array();
  for (const ComparedRow& r : rows) j.push_back(row_json(r));
  return j;
}

void add_row(Table& t, const ComparedRow& r, bool counts) {
  std::vector<std::string> cells = {
      r.name, fmt::format("{:.0f}", r.predicted_us), fmt::format("{:.0f}", r.measured_us),
      r.measured_us > 0 && r.predicted_us > 0 ? signed_percent(r.error()) : "-"};
  if (counts) cells.push_back(fmt::format("{} / {}", r.predicted_count, r.measured_count));
  t.row(std::move(cells));
}

std::string section(const std::string& title, const std::vector<ComparedRow>& rows, bool counts) {
  Table t;
  t.row({"", "predicted us", "measured us", "error", counts ? "ops / kernels" : ""});
  for (const ComparedRow& r : rows) add_row(t, r, counts);
  return "\n" + title + "\n" + t.str();
}

}  // namespace

std::string comparison_text(const Comparison& c) {
  std::string out = fmt::format(
      "forward + backward pair: predicted {:.1f} ms, measured {:.1f} ms, "
      "error {:+.1f} %\n",
      c.total.predicted_us / 1000, c.total.measured_us / 1000, 100 * c.total.error());
  out += section("Kernel time by segment", c.segments, true);
  out += section("Kernel time by class", c.classes, true);
  out += section("Op by op, summed over layers", c.ops, false);
  out += fmt::format(
      "\n{} of {} simulated ops joined one to one with the {} measured kernels (same "
      "segment, layer, class and position); the others are compared by class.\n",
      c.joined, c.simulated_ops, c.measured_kernels);
  return out;
}

std::string comparison_json(const Comparison& c) {
  Json j;
  j["schema_version"] = 1;
  j["pair"] = row_json(c.total);
  j["segments"] = rows_json(c.segments);
  j["classes"] = rows_json(c.classes);
  j["ops"] = rows_json(c.ops);
  j["joined"] = c.joined;
  return j.dump(2) + "\n";
}

}  // namespace orrery
