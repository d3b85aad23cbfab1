#include "sim/spec/residuals.h"

#include <algorithm>

namespace orrery {
namespace {

using json::Reader;

constexpr json::Range kLnRatio{-3, 3};  // a factor of 20 either way is a mistake, not an error

std::vector<RunResidual> read_runs(Reader& r, std::string_view key, bool time) {
  std::vector<RunResidual> rows;
  r.objects(key, [&](Reader& o) {
    RunResidual row;
    row.run = o.string("run");
    row.stack = o.string("stack");
    if (time) row.gpu = o.string("gpu");
    row.ln_ratio = row.ln_unfitted = o.number("ln_ratio", kLnRatio);
    row.stack_fitted = time && o.has("ln_unfitted");
    if (row.stack_fitted) row.ln_unfitted = o.number("ln_unfitted", kLnRatio);
    o.finish();
    if (std::any_of(rows.begin(), rows.end(), [&](const auto& x) { return x.run == row.run; }))
      o.fail("run", "\"" + row.run + "\" is in the list already");
    rows.push_back(std::move(row));
  });
  return rows;
}

}  // namespace

ResidualSpec read_residuals(Reader r) {
  ResidualSpec s;
  s.name = r.string("name");
  s.reference = r.string("reference");
  s.date = r.string_or("date", "");
  s.time = read_runs(r, "time", true);
  s.memory = read_runs(r, "memory", false);
  s.assumed_rate = read_sourced(r, "assumed_rate", {0, 3});
  r.finish();
  return s;
}

}  // namespace orrery
