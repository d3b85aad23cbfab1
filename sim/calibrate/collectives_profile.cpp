#include <fmt/format.h>

#include "sim/calibrate/collectives.h"

namespace orrery {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kOfStack = "/stack/collectives", kOfCluster = "/cluster";

const MeasuredConstant* find(const CollectiveCalibration& c, std::string_view pointer) {
  for (const MeasuredConstant& k : c.constants)
    if (k.pointer == pointer && k.measured) return &k;
  return nullptr;
}

// Of all points: a constant of a step is judged by what it does for all of them.
std::string reference_of(const CollectiveCalibration& c, const std::string& run) {
  std::string text = fmt::format("orrery calibrate, {}", run);
  for (const CollectiveErrors& e : c.errors)
    text += fmt::format("; {}: {} points fitted, median error {:.1f} %, {} held out, {:.1f} %",
                        e.name, e.fitted.count, 100 * e.fitted.median, e.held_out.count,
                        100 * e.held_out.median);
  return text;
}

// Tables by architecture keep the other architectures' values of the base; the reference says so.
ordered_json table_row(const std::string& row, const ordered_json& value, const std::string& base,
                       const std::string& reference, const std::string& date) {
  return {{"source", "measured"},
          {"reference", fmt::format("{}; other rows are those of {}", reference, base)},
          {"date", date},
          {row, value}};
}

}  // namespace

ordered_json collectives_profile(const CollectiveCalibration& c, const std::string& base,
                                 const std::string& run, const std::string& date) {
  const std::string reference = reference_of(c, run);
  ordered_json j{{"extends", base}, {"name", fmt::format("{}, measured", base)}};
  bool any = false;
  for (const MeasuredConstant& k : c.constants) {
    if (!k.measured || !k.pointer.starts_with(kOfStack)) continue;
    const std::string rest = k.pointer.substr(kOfStack.size() + 1);
    const std::size_t slash = rest.find('/');
    any = true;
    if (slash == std::string::npos)
      j[rest] = {
          {"value", k.value}, {"source", "measured"}, {"reference", reference}, {"date", date}};
    else
      j[rest.substr(0, slash)] = table_row(rest.substr(slash + 1), k.value, base, reference, date);
  }
  if (const MeasuredConstant* call = find(c, "call_us")) {
    any = true;
    ordered_json rows = {
        {"source", "measured"},
        {"reference", fmt::format("{}; the latencies of {} and {:.4g} us that a call adds",
                                  reference, base, call->value)},
        {"date", date}};
    for (int a = 0; a < kAlgorithms; ++a)
      if (static_cast<Algorithm>(a) != Algorithm::kDirect)
        for (const double us : c.spec.base_latency_us[static_cast<std::size_t>(a)])
          rows[std::string(kAlgorithmNames[a])].push_back(four_digits(us));
    j["base_latency_us"] = rows;
  }
  return any ? j : ordered_json();
}

ordered_json cluster_profile(const CollectiveCalibration& c, const std::string& base,
                             const std::string& gpu, const std::string& run,
                             const std::string& date) {
  const std::string reference = reference_of(c, run);
  ordered_json j{{"extends", base}, {"name", fmt::format("{}, measured", base)}};
  bool any = false;
  if (!gpu.empty()) j["node"]["gpu"] = gpu;
  for (const MeasuredConstant& k : c.constants) {
    if (!k.measured || !k.pointer.starts_with(kOfCluster)) continue;
    any = true;
    j[ordered_json::json_pointer(k.pointer.substr(kOfCluster.size()))] = {
        {"value", k.value}, {"source", "measured"}, {"reference", reference}, {"date", date}};
  }
  return any ? j : ordered_json();
}

}  // namespace orrery
