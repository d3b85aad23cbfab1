#include "sim/report/compare.h"

#include <fmt/format.h>

#include "sim/base/text.h"
#include "sim/report/json.h"
#include "sim/report/side_by_side.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

Json counted_json(const ComparedRow& r) {
  Json j = row_json(r, predicted_and_measured());
  j["predicted_count"] = r.predicted_count;
  j["measured_count"] = r.measured_count;
  return j;
}

Json rows_json(const std::vector<ComparedRow>& rows) {
  Json j = Json::array();
  for (const ComparedRow& r : rows) j.push_back(counted_json(r));
  return j;
}

std::string unknown_text(const Comparison& c, int top) {
  if (c.unknown.empty()) return "";
  double all = 0;
  for (const UnknownKernel& u : c.unknown) all += u.us;
  std::string out = fmt::format(
      "\nKernels of unknown names: {:.3f} ms of {:.3f} ms that is measured{}\n", all / 1000,
      c.sides.measured.span_us / 1000, c.segments.empty() ? "" : "; they count as element-wise");
  Table t;
  t.row({"", "ms", "kernels"});
  const std::size_t n =
      top <= 0 ? c.unknown.size() : std::min(c.unknown.size(), static_cast<std::size_t>(top));
  for (std::size_t i = 0; i < n; ++i) {
    constexpr std::size_t kWidth = 90;
    const UnknownKernel& u = c.unknown[i];
    t.row({escaped(u.name.substr(0, kWidth)), fmt::format("{:.3f}", u.us / 1000),
           std::to_string(u.count)});
  }
  out += t.str();
  if (n < c.unknown.size()) out += fmt::format("  and {} more names\n", c.unknown.size() - n);
  return out;
}

}  // namespace

std::string comparison_text(const Comparison& c, const std::string& what, int top) {
  const Sides sides = predicted_and_measured();
  const bool pair = !c.segments.empty();
  std::string out = fmt::format("{}{}: predicted {:.3f} ms, measured {:.3f} ms, error {}\n",
                                pair ? "forward + backward pair" : "step",
                                what.empty() ? "" : fmt::format(" ({})", what),
                                c.total.predicted_us / 1000, c.total.measured_us / 1000,
                                difference_text(sides, c.total.predicted_us, c.total.measured_us));
  out += where_time_goes_text(c.sides, sides);
  if (pair) {
    out += rows_text("Kernel time by segment", c.segments, sides, top, "ops / kernels");
    out += rows_text("Kernel time by class", c.classes, sides, top, "ops / kernels");
    out += rows_text("Op by op, summed over layers", c.ops, sides, top, "");
    out += fmt::format(
        "  {} of {} simulated ops joined one to one with the {} measured kernels (same segment, "
        "layer, class and position); the others are compared by class\n",
        c.joined, c.simulated_ops, c.measured_kernels);
  } else {
    out += rows_text("Kernel time by family", c.classes, sides, top, "ops / kernels");
  }
  return out + side_by_side_text(c.sides, sides, top) + unknown_text(c, top);
}

std::string comparison_json(const Comparison& c) {
  Json j;
  j["schema_version"] = kSchemaVersion;
  j[c.total.name] = counted_json(c.total);
  if (!c.segments.empty()) {
    j["segments"] = rows_json(c.segments);
    j["classes"] = rows_json(c.classes);
    j["ops"] = rows_json(c.ops);
    j["joined"] = c.joined;
  } else {
    j["families"] = rows_json(c.classes);
  }
  j["unknown_kernels"] = Json::array();
  for (const UnknownKernel& u : c.unknown)
    j["unknown_kernels"].push_back({{"name", u.name}, {"us", u.us}, {"count", u.count}});
  add_side_by_side(j, c.sides, predicted_and_measured());
  // Kernels and ops have no names in common, so nothing says where the predicted ones would be.
  for (Json& gap : j["gaps"]) gap.erase("predicted_us");
  return j.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace orrery
