#include "sim/calibrate/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/calibrate/point_model.h"
#include "sim/calibrate/robust.h"

namespace orrery {
namespace {

using Indices = std::vector<std::size_t>;

constexpr double kOutlierSigmas = 5, kOutlierFloor = 0.15;
constexpr double kWildSigmas = 6, kWildFloor = 0.1;  // the floor as a part of the median
constexpr double kUnsteady = 0.05, kDrift = 0.02;

// FNV-1a of what the point is, not of where it stands or what it took.
uint64_t hash_of(const MeasuredPoint& p) {
  uint64_t h = 14695981039346656037ull;
  for (const char c : fmt::format("{}|{}|{}", p.kernel, p.shape_text(), p.bytes.count()))
    h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return h;
}

// Of what the points draw at their clocks: limit_W = static_W + hbm + f^2 pJ FLOPs / s, in the
// median. Points that keep the full clock say nothing. 0: too few do.
double switching_pJ_per_FLOP(const Measured& m, const Indices& points, const PowerSpec& power) {
  constexpr double kFullClock = 0.97;
  constexpr std::size_t kFewest = 4;
  std::vector<double> pJ;
  for (const std::size_t i : points) {
    const MeasuredPoint& p = m.points[i];
    const double f = m.clock_of(p), s = 1e-6 * p.median_us();
    const PointWork work = point_work(p);
    if (f <= 0 || f > kFullClock || work.flops.count() <= 0) continue;
    const double hbm_W =
        1e-12 * power.pJ_per_byte.value * static_cast<double>(work.hbm.count()) / s;
    const double left_W = power.limit_W.value - power.static_W.value - hbm_W;
    pJ.push_back(1e12 * left_W * s / (f * f * work.flops.count()));
  }
  return pJ.size() >= kFewest ? median(pJ) : 0;
}

std::vector<PointError> errors(const Measured& m, const Indices& points,
                               const std::vector<bool>& held, const GpuSpec& gpu,
                               const GpuSpec& base) {
  std::vector<PointError> all;
  std::vector<double> relative;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const MeasuredPoint& p = m.points[points[i]];
    PointError e{points[i], 1e6 * point_seconds(gpu, p), 1e6 * point_seconds(base, p), held[i],
                 false};
    relative.push_back(e.error(p.median_us()));
    all.push_back(e);
  }
  for (const std::size_t i : outliers(relative, kOutlierSigmas, kOutlierFloor))
    all[i].outlier = std::abs(relative[i]) > kOutlierFloor;
  return all;
}

class Fitter {
 public:
  Fitter(const Measured& measured, const GpuSpec& base) : m_(measured), base_(base), gpu_(base) {
    classed_.resize(m_.points.size());
    Sourced& limit_W = gpu_.power.limit_W;
    if (m_.power_limit_W > 0 && limit_W.value > 0) limit_W.value = m_.power_limit_W;
  }

  Calibration run() {
    Calibration c;
    launches(c);
    l2_copies(c);
    for (const FittedClass& k : kernel_classes()) {
      Indices of_class;
      for (std::size_t i = 0; i < m_.points.size(); ++i)
        if (!m_.points[i].shared() && k.takes(m_.points[i])) of_class.push_back(i);
      if (of_class.empty() || !k.known(base_)) continue;
      for (const std::size_t i : of_class) classed_[i] = true;
      c.classes.push_back(fit_class(m_, k, of_class, gpu_, base_));
    }
    checks(c);
    c.gpu = gpu_;
    return c;
  }

 private:
  // At the full clock, where the point's is known, as if launches took so many cycles: 0.89 us at
  // 1423 of 1980 MHz on an H200, 0.68 to 0.70 in runs whose clock was not counted. 0: the file has
  // no such point.
  double launch_us(const char* kernel) const {
    for (const MeasuredPoint& p : m_.points)
      if (p.family == Family::kLaunch && p.kernel == kernel)
        return p.median_us() * (p.sm_clock_MHz > 0 ? m_.clock_of(p) : 1);
    return 0;
  }

  void launches(Calibration& c) {
    const double idle = launch_us("idle"), graph = launch_us("graph"), stream = launch_us("stream");
    if (idle <= 0) return;
    const auto set = [&](const char* name, const char* pointer, Sourced& gap, double us) {
      ClassFit f;
      f.name = name;
      f.constants.push_back({pointer, four_digits(us), gap.value, true, false});
      gap.value = four_digits(us);
      c.classes.push_back(f);
    };
    set(kGraphLaunches, "/launch_gap_us", gpu_.launch_gap_us, idle);
    if (graph > 0 && stream > graph)
      set(kStreamLaunches, "/stream_launch_gap_us", gpu_.stream_launch_gap_us,
          idle + stream - graph);
  }

  // The slope from the smallest copy within L2 to the largest.
  void l2_copies(Calibration& c) {
    const MeasuredPoint *least = nullptr, *most = nullptr;
    for (const MeasuredPoint& p : m_.points) {
      if (p.family != Family::kL2Copy) continue;
      if (least == nullptr || p.bytes < least->bytes) least = &p;
      if (most == nullptr || p.bytes > most->bytes) most = &p;
    }
    if (least == nullptr || most->median_us() <= least->median_us()) return;
    const double us = most->median_us() - least->median_us();
    ClassFit f;
    f.name = kL2Copies;
    const double GBps =
        four_digits(static_cast<double>((most->bytes - least->bytes).count()) / us * 1e-3);
    f.constants.push_back({"/l2_bandwidth_GBps", GBps, gpu_.l2_bandwidth_GBps.value, true, false});
    gpu_.l2_bandwidth_GBps.value = GBps;
    c.classes.push_back(f);
  }

  void checks(Calibration& c) {
    const auto check = [&](const char* name, auto takes) {
      Indices points;
      for (std::size_t i = 0; i < m_.points.size(); ++i)
        if (!classed_[i] && takes(m_.points[i]) && point_seconds(gpu_, m_.points[i]) > 0)
          points.push_back(i);
      if (points.empty()) return;
      ClassFit f;
      f.name = name;
      f.points = errors(m_, points, std::vector<bool>(points.size(), true), gpu_, base_);
      c.checks.push_back(f);
    };
    const auto attention = [](const MeasuredPoint& p) {
      return p.family == Family::kAttentionForward || p.family == Family::kAttentionBackward;
    };
    const auto shared = [](const MeasuredPoint& p) { return p.shared(); };
    check("attention, narrow heads",
          [&](const MeasuredPoint& p) { return attention(p) && !shared(p); });
    check("beside another kernel", shared);
  }

  const Measured& m_;
  GpuSpec base_, gpu_;
  std::vector<bool> classed_;  // points of a class that was fitted
};

void check_repeats(const Measured& m, Calibration& c) {
  for (std::size_t i = 0; i < m.points.size(); ++i) {
    const std::vector<double>& us = m.points[i].us;
    const double middle = median(us);
    c.repeats += static_cast<int64_t>(us.size());
    c.wild_repeats += static_cast<int64_t>(outliers(us, kWildSigmas, kWildFloor * middle).size());
    if (mad_sigma(us) > kUnsteady * middle) c.unsteady.push_back(i);
  }
}

Drift drift_of(const Measured& m) {
  Drift d;
  const std::size_t n = m.reference.size();
  if (n < 2) return d;
  const std::size_t part = (n + 4) / 5;
  const auto middle = [&](std::size_t from, double ReferenceRepeat::*member) {
    std::vector<double> x;
    for (std::size_t i = from; i < from + part; ++i) x.push_back(m.reference[i].*member);
    return median(x);
  };
  d.known = true;
  d.slowdown = middle(n - part, &ReferenceRepeat::us) / middle(0, &ReferenceRepeat::us) - 1;
  d.first_clock_MHz = middle(0, &ReferenceRepeat::sm_clock_MHz);
  d.last_clock_MHz = middle(n - part, &ReferenceRepeat::sm_clock_MHz);
  d.last_temperature_C = middle(n - part, &ReferenceRepeat::temperature_C);
  const bool clock =
      d.first_clock_MHz > 0 && std::abs(d.last_clock_MHz / d.first_clock_MHz - 1) > 2 * kDrift;
  d.flagged = std::abs(d.slowdown) > kDrift || clock;
  return d;
}

}  // namespace

ClassFit fit_class(const Measured& m, const FittedClass& k, const Indices& points, GpuSpec& gpu,
                   const GpuSpec& base) {
  ClassFit f;
  f.name = k.name;
  const std::vector<bool> held = held_back(m, points);
  Indices fitted;
  for (std::size_t i = 0; i < points.size(); ++i)
    if (!held[i]) fitted.push_back(points[i]);
  const auto predict = [&](const GpuSpec& g, std::size_t i) {
    return 1e6 * point_seconds(g, m.points[i], m.clock_of(m.points[i]));
  };
  const auto measured = [&](std::size_t i) { return m.points[i].median_us(); };
  MeasuredConstant energy;
  if (k.energy.of) {
    // First: a kernel without one keeps its clock.
    const double pJ = four_digits(switching_pJ_per_FLOP(m, fitted, gpu.power));
    double& value = k.energy.of(gpu);
    energy = {k.energy.pointer, pJ > 0 ? pJ : value, value, pJ > 0, false};
    value = energy.value;
  }
  f.constants = ConstantFit(k.constants, fitted, predict, measured).run(gpu, base);
  if (k.energy.of) f.constants.push_back(energy);
  f.points = errors(m, points, held, gpu, base);
  return f;
}

std::vector<bool> held_back(const Measured& m, const Indices& points) {
  std::vector<std::pair<uint64_t, std::size_t>> order;
  for (std::size_t i = 0; i < points.size(); ++i)
    order.emplace_back(hash_of(m.points[points[i]]), i);
  std::sort(order.begin(), order.end());
  std::vector<bool> held(points.size(), false);
  for (std::size_t i = 0; i < points.size() / 5; ++i) held[order[i].second] = true;
  return held;
}

Calibration calibrate_gpu(const Measured& measured, const GpuSpec& base) {
  Calibration c = Fitter(measured, base).run();
  check_repeats(measured, c);
  c.drift = drift_of(measured);
  return c;
}

}  // namespace orrery
