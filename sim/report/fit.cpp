#include "sim/report/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sim/base/text.h"
#include "sim/report/json.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

std::string errors_text(const Validation& before, const Validation& after) {
  Table t;
  t.row({"step time", "runs", "median", "after", "90th", "after", "bias", "after"});
  for (std::size_t i = 0; i < std::min(before.time.size(), after.time.size()); ++i) {
    const ErrorSummary &b = before.time[i], &a = after.time[i];
    t.row({a.name, std::to_string(a.cases), percent(b.median), percent(a.median), percent(b.p90),
           percent(a.p90), signed_percent(b.bias), signed_percent(a.bias)});
  }
  return t.str();
}

Json errors_json(const Validation& v) {
  Json out = Json::array();
  for (const ErrorSummary& e : v.time)
    out.push_back({{"name", e.name},
                   {"runs", e.cases},
                   {"median_fraction", e.median},
                   {"p90_fraction", e.p90},
                   {"bias_fraction", e.bias}});
  return out;
}

}  // namespace

std::string fit_text(const FitSpec& spec, const FitResult& r) {
  Table t;
  t.row({"", "runs", "prior", "profile", "fitted", "+- 1 sd", ""});
  for (std::size_t k = 0; k < r.constants.size(); ++k) {
    const FittedConstant& c = r.constants[k];
    const FitConstant& of = spec.constants[k];
    t.row({c.name, std::to_string(c.runs), fmt::format("{:g}", of.prior),
           fmt::format("{:.4g}", c.before), fmt::format("{:.4g}", c.value), percent(c.deviation),
           c.value == of.low || c.value == of.high ? "at its bound" : ""});
  }
  return t.str() +
         fmt::format("{} after {} iterations\n\n", r.converged ? "converged" : "not converged",
                     r.iterations) +
         errors_text(r.before, r.after);
}

std::string fit_json(const FitSpec& spec, const FitResult& r) {
  Json j;
  j["schema_version"] = kSchemaVersion;
  j["converged"] = r.converged;
  j["iterations"] = r.iterations;
  j["constants"] = Json::array();
  for (std::size_t k = 0; k < r.constants.size(); ++k) {
    const FittedConstant& c = r.constants[k];
    j["constants"].push_back({{"name", c.name},
                              {"runs", c.runs},
                              {"prior", spec.constants[k].prior},
                              {"profile", c.before},
                              {"fitted", c.value},
                              {"relative_deviation", c.deviation}});
  }
  j["before"] = errors_json(r.before);
  j["after"] = errors_json(r.after);
  return j.dump(2) + "\n";
}

}  // namespace orrery
