#include "sim/report/compare_run.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "sim/base/text.h"
#include "sim/report/json.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::size_t kListed = 20;  // unmatched ops in the text

std::string error_text(const ComparedRow& r) {
  return r.measured_us > 0 ? signed_percent(r.error()) : "-";
}

Json row_json(const ComparedRow& r) {
  Json j = {{"name", r.name}, {"predicted_us", r.predicted_us}, {"measured_us", r.measured_us}};
  if (r.predicted_count > 0) j["ops"] = r.predicted_count;
  if (r.measured_us > 0) j["error_fraction"] = r.error();
  return j;
}

void list(std::string& out, const char* title, const std::vector<std::string>& ops) {
  if (ops.empty()) return;
  out += fmt::format("\n{} {}:\n", with_commas(static_cast<long long>(ops.size())), title);
  for (std::size_t i = 0; i < std::min(kListed, ops.size()); ++i) out += "  " + ops[i] + "\n";
  if (ops.size() > kListed) out += fmt::format("  and {} more\n", ops.size() - kListed);
}

}  // namespace

std::string run_comparison_text(const RunComparison& c) {
  std::string out =
      fmt::format("step of {} on {}: predicted {:.3f} ms, measured {:.3f} ms, error {}\n",
                  in_quotes(c.experiment), in_quotes(c.device), c.step.predicted_us / 1000,
                  c.step.measured_us / 1000, error_text(c.step));
  out += fmt::format("{} ops matched one to one, {} simulated and {} measured ones did not\n",
                     with_commas(c.matched),
                     with_commas(static_cast<long long>(c.only_simulated.size())),
                     with_commas(static_cast<long long>(c.only_measured.size())));
  Table t;
  t.row({"", "ops", "predicted us", "measured us", "error"});
  for (const ComparedRow& r : c.kinds)
    t.row({r.name, std::to_string(r.predicted_count), fmt::format("{:.1f}", r.predicted_us),
           fmt::format("{:.1f}", r.measured_us), error_text(r)});
  out += "\nTime by op kind\n" + t.str();
  list(out, "ops are simulated but not in the trace, or not on all of its ranks", c.only_simulated);
  list(out, "ops are in the trace but not simulated", c.only_measured);
  return out;
}

std::string run_comparison_json(const RunComparison& c) {
  Json j;
  j["schema_version"] = kSchemaVersion;
  j["experiment"] = c.experiment;
  j["device"] = c.device;
  j["step"] = row_json(c.step);
  j["matched"] = c.matched;
  j["only_simulated"] = c.only_simulated;
  j["only_measured"] = c.only_measured;
  j["op_kinds"] = Json::array();
  for (const ComparedRow& r : c.kinds) j["op_kinds"].push_back(row_json(r));
  j["ops"] = Json::array();
  for (const ComparedOp& o : c.ops) {
    Json row = row_json(o.row);
    row["kind"] = op_kind_name(o.kind);
    row["stage"] = o.stage;
    row["shape"] = {
        {"m", o.shape.m}, {"n", o.shape.n}, {"k", o.shape.k}, {"groups", o.shape.groups}};
    j["ops"].push_back(std::move(row));
  }
  return j.dump(2) + "\n";
}

}  // namespace orrery
