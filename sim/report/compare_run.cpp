#include "sim/report/compare_run.h"

#include <fmt/format.h>

#include "sim/base/text.h"
#include "sim/report/json.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::size_t kListed = 20;  // unmatched ops in the text

Json counted_json(const ComparedRow& r, const Sides& sides) {
  Json j = row_json(r, sides);
  if (r.predicted_count > 0) j["ops"] = r.predicted_count;
  return j;
}

Json op_json(const ComparedOp& o, const Sides& sides) {
  Json row = counted_json(o.row, sides);
  row["kind"] = o.kind;
  if (o.stage < 0) return row;
  row["stage"] = o.stage;
  row["shape"] = {{"m", o.shape.m}, {"n", o.shape.n}, {"k", o.shape.k}, {"groups", o.shape.groups}};
  return row;
}

void list(std::string& out, const char* title, const std::vector<std::string>& ops) {
  if (ops.empty()) return;
  out += fmt::format("\n{} {}:\n", with_commas(static_cast<long long>(ops.size())), title);
  for (std::size_t i = 0; i < std::min(kListed, ops.size()); ++i) out += "  " + ops[i] + "\n";
  if (ops.size() > kListed) out += fmt::format("  and {} more\n", ops.size() - kListed);
}

std::string count_text(std::size_t n) { return with_commas(static_cast<long long>(n)); }

}  // namespace

std::string run_comparison_text(const std::string& title, const RunComparison& c,
                                const Sides& sides, int top) {
  std::string out = fmt::format("{}: {} {:.3f} ms, {} {:.3f} ms, {} {}\n", title, sides.first,
                                c.step.predicted_us / 1000, sides.second, c.step.measured_us / 1000,
                                sides.difference,
                                difference_text(sides, c.step.predicted_us, c.step.measured_us));
  if (c.untraced)
    out += fmt::format("{} without a trace: {} {:.3f} ms (median), {} {}\n",
                       c.untraced_steps == 1 ? "1 step" : fmt::format("{} steps", c.untraced_steps),
                       sides.second, c.untraced->measured_us / 1000, sides.difference,
                       difference_text(sides, c.untraced->predicted_us, c.untraced->measured_us));
  if (c.not_run)
    out += fmt::format(
        "one rank with a fake process group: its compute ops; the {} that communicate, {} {:.3f} "
        "ms, did not run\n",
        with_commas(c.not_run->predicted_count), sides.first, c.not_run->predicted_us / 1000);
  if (!c.complete()) {
    out += fmt::format("{} ops matched one to one, {} {} and {} {} ones did not\n",
                       with_commas(c.matched), count_text(c.only_simulated.size()), sides.first,
                       count_text(c.only_measured.size()), sides.second);
    list(out, "ops are simulated but not in the trace, or not on all of its ranks",
         c.only_simulated);
    list(out, "ops are in the trace but not simulated", c.only_measured);
    return out;
  }
  out += fmt::format("all {} ops matched one to one\n", with_commas(c.matched));
  out += where_time_goes_text(c.sides, sides);
  const std::string classes =
      c.sides.memory.size() > 1
          ? fmt::format("; one rank of each of {} pipeline ranks", c.sides.memory.size())
          : "";
  if (!c.kinds.empty()) out += rows_text("By op kind" + classes, c.kinds, sides, top, "ops");
  out += rows_text("By op, summed over layers" + classes, by_group(c.ops), sides, top, "ops");
  return out + side_by_side_text(c.sides, sides, top);
}

std::string run_comparison_json(const RunComparison& c, const Sides& sides) {
  Json j;
  j["schema_version"] = kSchemaVersion;
  j["experiment"] = c.experiment;
  j["device"] = c.device;
  if (sides.relative_to_first) {
    j[sides.second + "_experiment"] = c.second_experiment;
    j[sides.second + "_device"] = c.second_device;
  }
  j["step"] = counted_json(c.step, sides);
  if (c.untraced) {
    j["untraced_step"] = row_json(*c.untraced, sides);
    j["untraced_step"]["steps"] = c.untraced_steps;
  }
  if (c.not_run)
    j["not_run"] = {{"ops", c.not_run->predicted_count},
                    {sides.first + "_us", c.not_run->predicted_us}};
  j["matched"] = c.matched;
  if (!sides.relative_to_first) {
    j["only_simulated"] = c.only_simulated;
    j["only_measured"] = c.only_measured;
  }
  j["op_kinds"] = Json::array();
  for (const ComparedRow& r : c.kinds) j["op_kinds"].push_back(counted_json(r, sides));
  j["ops"] = Json::array();
  for (const ComparedOp& o : c.ops) j["ops"].push_back(op_json(o, sides));
  add_side_by_side(j, c.sides, sides);
  return j.dump(2) + "\n";
}

}  // namespace orrery
