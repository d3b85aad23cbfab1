#include "sim/report/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "sim/base/text.h"
#include "sim/calibrate/robust.h"
#include "sim/calibrate/summary.h"

namespace orrery {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMostPoints = 12;  // that a notice lists

void add_summary(std::vector<std::string>& row, const ClassErrors& s) {
  row.push_back(fmt::format("{}", s.count));
  row.push_back(s.count > 0 ? percent(s.median) : "");
  row.push_back(s.count > 0 ? percent(s.largest) : "");
}

std::string error_table(const Calibration& c, const Measured& m) {
  Table t;
  t.row({"errors by class", "base's", "largest", "fitted", "median", "largest", "held out",
         "median", "largest"});
  t.rule();
  const auto add = [&](const ClassFit& f) {
    if (f.points.empty()) return;
    const ClassErrors base = summarise(f, m, Part::kAll, true);
    std::vector<std::string> row{f.name, percent(base.median), percent(base.largest)};
    add_summary(row, summarise(f, m, Part::kFitted));
    add_summary(row, summarise(f, m, Part::kHeldOut));
    t.row(row);
  };
  for (const ClassFit& f : c.classes) add(f);
  for (const ClassFit& f : c.checks) add(f);
  return t.str();
}

// Where one set of constants stands for several kernels: how far each is from it.
std::string kernel_table(const Calibration& c, const Measured& m) {
  Table t;
  t.row({"errors by kernel", "points", "median", "largest", "mean"});
  t.rule();
  const auto add = [&](const ClassFit& f) {
    std::map<std::string, ClassFit> kernels;
    for (const PointError& p : f.points) kernels[m.points[p.point].kernel].points.push_back(p);
    if (kernels.size() < 2) return;
    for (const auto& [kernel, of_kernel] : kernels) {
      const ClassErrors s = summarise(of_kernel, m, Part::kAll);
      t.row({fmt::format("{}: {}", f.name, kernel), fmt::format("{}", s.count), percent(s.median),
             percent(s.largest), signed_percent(s.bias)});
    }
  };
  for (const ClassFit& f : c.classes) add(f);
  for (const ClassFit& f : c.checks) add(f);
  return t.str();
}

std::string constant_table(const Calibration& c, const std::string& base) {
  Table t;
  t.row({"constants", base, "measured", ""});
  t.rule();
  for (const ClassFit& f : c.classes)
    for (const MeasuredConstant& k : f.constants)
      t.row({k.pointer, fmt::format("{:.4g}", k.base),
             k.measured ? fmt::format("{:.4g}", k.value) : "-",
             k.at_bound   ? "at its bound"
             : k.measured ? ""
                          : "not determined, kept"});
  return t.str();
}

std::string point_name(const MeasuredPoint& p) {
  return fmt::format("{} {}, {:.1f} us", p.kernel, p.shape_text(), p.median_us());
}

// "label: count" and a line for each point, cut after kMostPoints.
void list(std::string& out, const std::string& label, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  out += fmt::format("warning: {}: {}\n", label, lines.size());
  for (std::size_t i = 0; i < std::min(lines.size(), kMostPoints); ++i)
    out += fmt::format("  {}\n", lines[i]);
  if (lines.size() > kMostPoints) out += fmt::format("  and {} more\n", lines.size() - kMostPoints);
}

std::string drift_text(const Drift& d) {
  if (!d.known) return "drift: unknown, the file has no repeats of a reference kernel\n";
  std::string text = fmt::format("{}drift: the reference kernel took {:+.1f} % at the end",
                                 d.flagged ? "warning: " : "", 100 * d.slowdown);
  if (d.first_clock_MHz > 0)
    text += fmt::format(", SM clock {:.0f} MHz at first, {:.0f} at last", d.first_clock_MHz,
                        d.last_clock_MHz);
  if (d.last_temperature_C > 0) text += fmt::format(", {:.0f} C", d.last_temperature_C);
  return text + (d.flagged ? "; the constants hold a mixture\n" : "\n");
}

std::string notices(const Calibration& c, const Measured& m) {
  std::string out = drift_text(c.drift);
  out += fmt::format("repeats: {} of {} points, {} of them far from the others of their point\n",
                     c.repeats, m.points.size(), c.wild_repeats);
  std::vector<std::string> unsteady, wild;
  for (const std::size_t i : c.unsteady)
    unsteady.push_back(fmt::format("{}, repeats spread by {}", point_name(m.points[i]),
                                   percent(mad_sigma(m.points[i].us) / m.points[i].median_us())));
  for (const ClassFit& f : c.classes)
    for (const PointError& p : f.points)
      if (p.outlier)
        wild.push_back(fmt::format("{}, predicted {:.1f}{}", point_name(m.points[p.point]),
                                   p.predicted_us, p.held_out ? ", held out" : ""));
  list(out, "unsteady points", unsteady);
  list(out, "outliers, points far from the fit of their class", wild);
  return out;
}

// What is measured and is no constant of a profile.
std::string figures(const Measured& m) {
  std::string out;
  const auto copy = [&](const MeasuredPoint& p, const char* where) {
    out += fmt::format("  copy of {} {}: {:.0f} GB/s read and written\n", p.shape_text(), where,
                       static_cast<double>(p.bytes.count()) / p.median_us() / 1e3);
  };
  const MeasuredPoint* largest = nullptr;
  for (const MeasuredPoint& p : m.points) {
    if (p.family == Family::kLaunch)
      out += fmt::format("  launch, {}: {:.2f} us\n", p.kernel, p.median_us());
    if (p.family == Family::kL2Copy) copy(p, "within L2");
    if (p.family == Family::kMemoryBound && p.kernel == "copy" && !p.shared() &&
        (largest == nullptr || p.bytes > largest->bytes))
      largest = &p;
  }
  if (largest != nullptr) copy(*largest, "in HBM");
  return out.empty() ? out : fmt::format("measured, and no constant of a profile\n{}\n", out);
}

ordered_json summary_json(const ClassErrors& s) {
  return {{"count", s.count}, {"median", s.median}, {"largest", s.largest}, {"bias", s.bias}};
}

ordered_json constant_json(const MeasuredConstant& k) {
  return {{"pointer", k.pointer},
          {"base", k.base},
          {"value", k.value},
          {"measured", k.measured},
          {"at_bound", k.at_bound}};
}

ordered_json class_json(const ClassFit& f, const Measured& m) {
  ordered_json j{{"name", f.name},
                 {"base", summary_json(summarise(f, m, Part::kAll, true))},
                 {"fitted", summary_json(summarise(f, m, Part::kFitted))},
                 {"held_out", summary_json(summarise(f, m, Part::kHeldOut))}};
  for (const PointError& p : f.points)
    if (p.outlier) j["outliers"].push_back(point_name(m.points[p.point]));
  return j;
}

}  // namespace

std::string calibration_text(const Calibration& c, const Measured& m, const std::string& base) {
  std::string out = fmt::format(
      "{}, {}: {} points; CUDA {}, driver {}; what is not measured is {}'s\n\n", m.gpu, m.date,
      m.points.size(), m.cuda, m.driver.empty() ? m.cuda_of_driver : m.driver, base);
  out += fmt::format("{}\n{}\n{}\n{}", error_table(c, m), kernel_table(c, m),
                     constant_table(c, base), figures(m));
  return out + notices(c, m);
}

std::string collectives_text(const CollectiveCalibration& c) {
  Table t;
  t.row({"collectives", "points", "base's", "fitted", "median", "largest", "held out", "median",
         "largest"});
  t.rule();
  for (const CollectiveErrors& e : c.errors) {
    std::vector<std::string> row{e.name, fmt::format("{}", e.fitted.count + e.held_out.count),
                                 percent(e.base.median)};
    add_summary(row, e.fitted);
    add_summary(row, e.held_out);
    t.row(row);
  }
  Table k;
  k.row({"constants", "base", "measured", ""});
  k.rule();
  for (const MeasuredConstant& f : c.constants)
    k.row({f.pointer, fmt::format("{:.4g}", f.base),
           f.measured ? fmt::format("{:.4g}", f.value) : "-",
           f.at_bound   ? "at its bound"
           : f.measured ? ""
                        : "not determined, kept"});
  std::string out = fmt::format("{}\n{}\n{}", c.what, t.str(), k.str());
  list(out, "outliers, points far from the fit", c.outliers);
  return out;
}

ordered_json calibration_json(const Calibration& c, const Measured& m, const std::string& base) {
  ordered_json j{{"gpu", m.gpu}, {"date", m.date}, {"base", base}, {"points", m.points.size()}};
  for (const ClassFit& f : c.classes) {
    ordered_json k = class_json(f, m);
    for (const MeasuredConstant& constant : f.constants)
      k["constants"].push_back(constant_json(constant));
    j["classes"].push_back(k);
  }
  for (const ClassFit& f : c.checks) j["checks"].push_back(class_json(f, m));
  j["repeats"] = c.repeats;
  j["wild_repeats"] = c.wild_repeats;
  for (const std::size_t i : c.unsteady) j["unsteady"].push_back(point_name(m.points[i]));
  if (c.drift.known)
    j["drift"] = {{"slowdown", c.drift.slowdown},
                  {"first_clock_MHz", c.drift.first_clock_MHz},
                  {"last_clock_MHz", c.drift.last_clock_MHz},
                  {"flagged", c.drift.flagged}};
  return j;
}

std::string kernel_rates_text(const std::vector<KernelRateFit>& rates, const Measured& m) {
  if (rates.empty()) return "";
  Table t;
  t.row({"kernels of orrery run", "of HBM", "fixed us", "by pattern", "fitted", "median", "largest",
         "held out", "median", "largest"});
  t.rule();
  for (const KernelRateFit& r : rates) {
    std::vector<std::string> row{r.fit.name, fmt::format("{:.3f}", r.hbm_efficiency),
                                 fmt::format("{:.2f}", r.fixed_us),
                                 percent(summarise(r.fit, m, Part::kAll, true).median)};
    add_summary(row, summarise(r.fit, m, Part::kFitted));
    add_summary(row, summarise(r.fit, m, Part::kHeldOut));
    t.row(row);
  }
  return t.str();
}

ordered_json kernel_rates_json(const std::vector<KernelRateFit>& rates, const Measured& m) {
  ordered_json all = ordered_json::array();
  for (const KernelRateFit& r : rates) {
    ordered_json j = class_json(r.fit, m);
    j["op_kinds"] = r.kinds;
    j["hbm_efficiency"] = r.hbm_efficiency;
    j["fixed_us"] = r.fixed_us;
    all.push_back(std::move(j));
  }
  return all;
}

ordered_json collectives_json(const CollectiveCalibration& c) {
  ordered_json j{{"what", c.what}};
  for (const CollectiveErrors& e : c.errors)
    j["classes"].push_back({{"name", e.name},
                            {"base", summary_json(e.base)},
                            {"fitted", summary_json(e.fitted)},
                            {"held_out", summary_json(e.held_out)}});
  for (const MeasuredConstant& k : c.constants) j["constants"].push_back(constant_json(k));
  for (const std::string& o : c.outliers) j["outliers"].push_back(o);
  return j;
}

}  // namespace orrery
