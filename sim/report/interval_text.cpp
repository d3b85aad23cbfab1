#include "sim/report/interval_text.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/base/text.h"

namespace orrery {

std::string time_range(const Prediction& p, double figure, bool inverse, int decimals) {
  if (!p.interval.time) return "";
  const auto [low, high] = p.interval.time->factors;
  return fmt::format("({:.0f} %: {:.{}f} to {:.{}f})", 100 * kIntervalLevel,
                     inverse ? figure / high : figure * low, decimals,
                     inverse ? figure / low : figure * high, decimals);
}

std::string interval_basis(const char* of, const std::optional<FigureInterval>& i) {
  if (!i) return "";
  const Predictive& e = i->error;
  std::string out =
      fmt::format("  {:.0f} % interval{}: errors of {}\n    standard deviations: stack {}",
                  100 * kIntervalLevel, of, i->rests_on, percent(std::sqrt(e.stack_part)));
  if (e.gpu_part > 0) out += fmt::format(", GPU {}", percent(std::sqrt(e.gpu_part)));
  return out + fmt::format(", run {}; centre {} of the prediction\n",
                           percent(std::sqrt(e.run_part)), signed_percent(std::expm1(e.centre)));
}

std::string peak_range(const Prediction& p) {
  const std::optional<FigureInterval>& i = p.interval.memory;
  if (!i) return "";
  const double peak = gib(p.verdict.peak), capacity = gib(p.verdict.capacity);
  const double low = peak * i->factors.low, high = peak * i->factors.high;
  return fmt::format("  {:.0f} %: highest peak {:.1f} to {:.1f}{}\n", 100 * kIntervalLevel, low,
                     high,
                     low <= capacity && capacity < high ? ": whether it fits is not certain" : "") +
         interval_basis(" of the peak", i);
}

std::string hours_range(const Prediction& p, double simulated, double bound) {
  if (!p.interval.time) return "";
  const auto [low, high] = p.interval.time->factors;
  const auto hours = [](double v) { return with_commas(static_cast<long long>(v + 0.5)); };
  if (bound > 0) return "over " + hours(simulated * low + bound * low);
  return fmt::format("{} to {}", hours(simulated * low), hours(simulated * high));
}

std::string cost_range(const Prediction& p, double simulated, double bound) {
  if (!p.interval.time) return "";
  const auto [low, high] = p.interval.time->factors;
  if (bound > 0) return fmt::format("over ${:.3f}M", (simulated + bound) * low / 1e6);
  return fmt::format("${:.3f}M to ${:.3f}M", simulated * low / 1e6, simulated * high / 1e6);
}

}  // namespace orrery
