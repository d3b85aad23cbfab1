#include "runtime/train/step_log.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "sim/base/text.h"
#include "sim/base/units.h"

namespace orrery {
namespace {

double gib_of(int64_t bytes) { return static_cast<double>(bytes) / kBytesPerGiB; }

// Four decimals, as long as they fit the column.
std::string number_text(double x) {
  constexpr double kWide = 1000;
  return std::abs(x) < kWide ? fmt::format("{:.4f}", x) : fmt::format("{:.3g}", x);
}

}  // namespace

std::optional<double> mtp_loss(const StepResult& result) {
  const auto& all = result.losses;
  if (all.size() < 2) return std::nullopt;
  return std::accumulate(all.begin() + 1, all.end(), 0.0) / static_cast<double>(all.size() - 1);
}

std::optional<double> StepLog::mfu(double seconds_per_step) const {
  if (options_.peak_flops <= 0 || seconds_per_step <= 0) return std::nullopt;
  return options_.flops_per_step / seconds_per_step / options_.peak_flops;
}

std::vector<Metric> StepLog::metrics(const StepReport& r) const {
  std::vector<Metric> m = {{"loss", r.result.losses.at(0)}};
  if (const auto mtp = mtp_loss(r.result)) m.emplace_back("mtp_loss", *mtp);
  m.emplace_back("grad_norm", r.result.grad_norm);
  m.emplace_back("lr", r.lr);
  m.emplace_back("tokens", r.tokens);
  m.emplace_back("step_time_s", r.seconds);
  m.emplace_back("tokens_per_s", static_cast<double>(options_.tokens_per_step) / r.seconds);
  if (const auto share = mfu(r.seconds)) m.emplace_back("mfu", *share);
  if (r.result.expert_load > 0) m.emplace_back("expert_load_max_over_mean", r.result.expert_load);
  m.emplace_back("memory_GiB", gib_of(r.memory.allocated_peak_bytes));
  m.emplace_back("reserved_GiB", gib_of(r.memory.reserved_bytes));
  return m;
}

std::string StepLog::header() const {
  std::string h = fmt::format("{:>8} {:>9}", "step", "loss");
  if (mtp_) h += fmt::format(" {:>9}", "mtp loss");
  h += fmt::format(" {:>10} {:>10} {:>12}", "grad norm", "lr", "tokens/s");
  if (options_.peak_flops > 0) h += fmt::format(" {:>8}", "MFU");
  if (options_.expert_load) h += fmt::format(" {:>11}", "expert load");
  return h + fmt::format(" {:>11}", "memory GiB");
}

void StepLog::add(const StepReport& r) {
  last_ = r;
  ++steps_;
  seconds_ += r.seconds;
}

std::string StepLog::row() {
  const double each = seconds_ / static_cast<double>(steps_);
  const double rate = static_cast<double>(options_.tokens_per_step) / each;
  std::string row = fmt::format("{:>8} {:>9}", last_.step, number_text(last_.result.losses.at(0)));
  if (mtp_) row += fmt::format(" {:>9}", number_text(mtp_loss(last_.result).value_or(0)));
  row += fmt::format(" {:>10} {:>10.3e} {:>12}", number_text(last_.result.grad_norm), last_.lr,
                     with_commas(static_cast<long long>(rate)));
  if (const auto share = mfu(each)) row += fmt::format(" {:>6.2f} %", 100 * *share);
  if (options_.expert_load)
    row += last_.result.expert_load > 0 ? fmt::format(" {:>11.2f}", last_.result.expert_load)
                                        : fmt::format(" {:>11}", "-");
  row += fmt::format(" {:>11.2f}", gib_of(last_.memory.allocated_peak_bytes));
  steps_ = 0;
  seconds_ = 0;
  return row;
}

}  // namespace orrery
