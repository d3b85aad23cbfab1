#include "sim/report/residuals.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

double four_decimals(double x) { return std::round(x * 1e4) / 1e4 + 0.0; }  // no -0

std::string rows(const std::vector<RunResidual>& runs) {
  std::string out = "[";
  for (const RunResidual& r : runs) {
    Json j = {{"run", r.run}, {"stack", r.stack}};
    if (!r.gpu.empty()) j["gpu"] = r.gpu;
    j["ln_ratio"] = four_decimals(r.ln_ratio);
    if (r.stack_fitted) j["ln_unfitted"] = four_decimals(r.ln_unfitted);
    out += (out.size() == 1 ? "\n    " : ",\n    ") + j.dump();
  }
  return out + (runs.empty() ? "]" : "\n  ]");
}

}  // namespace

std::string residuals_json(const ResidualSpec& s) {
  const Json assumed = {{"value", s.assumed_rate.value},
                        {"source", source_name(s.assumed_rate.source)},
                        {"reference", s.assumed_rate.reference},
                        {"date", s.assumed_rate.date}};
  return "{\n  \"name\": " + Json(s.name).dump() +
         ",\n  \"reference\": " + Json(s.reference).dump() +
         ",\n  \"date\": " + Json(s.date).dump() + ",\n  \"assumed_rate\": " + assumed.dump() +
         ",\n  \"time\": " + rows(s.time) + ",\n  \"memory\": " + rows(s.memory) + "\n}\n";
}

}  // namespace orrery
