#include "runtime/io/synthetic.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "runtime/io/counter_random.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr double kRandomRange = 0x1p32;

// Streams of the language's seed.
enum Stream : uint64_t { kSuccessorStream, kExponentStream, kSampleStream };

void check(const SyntheticLanguageSpec& spec) {
  constexpr int64_t kMaxVocab = int64_t{1} << 20;
  constexpr int64_t kMaxSuccessors = 64;
  constexpr int64_t kMaxClasses = 64;
  constexpr double kMaxExponent = 4;
  Diagnostics findings;
  const auto need = [&](const char* name, int64_t found, int64_t least, int64_t most) {
    if (found >= least && found <= most) return;
    findings.add("synthetic language", std::string("found ") + name + " " + std::to_string(found) +
                                           ", expected " + std::to_string(least) + " to " +
                                           std::to_string(most));
  };
  need("vocab_size", spec.vocab_size, 2, kMaxVocab);
  need("successors", spec.successors, 2, std::clamp<int64_t>(spec.vocab_size, 2, kMaxSuccessors));
  need("history_classes", spec.history_classes, 1, kMaxClasses);
  constexpr int64_t kMaxTable = int64_t{1} << 28;  // 2 GiB
  need("vocab_size * history_classes * successors",
       findings.empty() ? spec.vocab_size * spec.history_classes * spec.successors : 0, 0,
       kMaxTable);
  // Negated, so that a NaN is refused.
  if (!(spec.min_exponent >= 0 && spec.min_exponent <= spec.max_exponent &&
        spec.max_exponent <= kMaxExponent)) {
    findings.add("synthetic language",
                 "expected exponents 0 <= min_exponent <= max_exponent <= 4, found " +
                     std::to_string(spec.min_exponent) + " and " +
                     std::to_string(spec.max_exponent));
  }
  findings.throw_if_any();
}

double unit_interval(uint64_t random) { return static_cast<double>(random >> 11) * 0x1p-53; }

}  // namespace

SyntheticLanguage::SyntheticLanguage(const SyntheticLanguageSpec& spec)
    : spec_((check(spec), spec)),
      successors_(static_cast<std::size_t>(spec.successors)),
      states_(static_cast<std::size_t>(spec.vocab_size * spec.history_classes)),
      next_(states_ * successors_),
      bound_(states_ * successors_) {
  for (std::size_t state = 0; state < states_; ++state) {
    draw_successors(state);
    draw_bounds(state);
  }
  cumulative_ = stationary_distribution();
  double sum = 0;
  for (std::size_t state = 0; state < states_; ++state) {
    const double here = cumulative_[state];
    for (std::size_t rank = 0; rank < successors_; ++rank) {
      const double p = weight(state, rank);
      entropy_nats_ -= here * p * std::log(p);
    }
    cumulative_[state] = sum += here;
  }
}

std::size_t SyntheticLanguage::state_of(int32_t previous, int32_t current) const {
  const int64_t group = previous % spec_.history_classes;
  return static_cast<std::size_t>(group * spec_.vocab_size + current);
}

void SyntheticLanguage::draw_successors(std::size_t state) {
  const auto vocab = static_cast<uint64_t>(spec_.vocab_size);
  const auto current = static_cast<int32_t>(state % vocab);
  const std::span<int32_t> out = std::span(next_).subspan(state * successors_, successors_);
  std::size_t drawn = successors_;
  out[--drawn] = static_cast<int32_t>((static_cast<uint64_t>(current) + 1) % vocab);
  if (current == 0) out[--drawn] = 0;
  const uint64_t key = stream_key(stream_key(spec_.seed, kSuccessorStream), state);
  for (uint64_t counter = 0; drawn > 0; ++counter) {
    const auto token = static_cast<int32_t>(scaled_below(counter_random(key, counter), vocab));
    const auto taken = out.subspan(drawn);
    if (std::find(taken.begin(), taken.end(), token) == taken.end()) out[--drawn] = token;
  }
}

void SyntheticLanguage::draw_bounds(std::size_t state) {
  const uint64_t key = stream_key(spec_.seed, kExponentStream);
  const double exponent =
      std::lerp(spec_.min_exponent, spec_.max_exponent, unit_interval(counter_random(key, state)));
  double total = 0;
  for (std::size_t rank = 0; rank < successors_; ++rank) {
    total += std::pow(static_cast<double>(rank + 1), -exponent);
  }
  double below = 0;
  for (std::size_t rank = 0; rank < successors_; ++rank) {
    bound_[state * successors_ + rank] = static_cast<uint32_t>(below / total * kRandomRange);
    below += std::pow(static_cast<double>(rank + 1), -exponent);
  }
}

double SyntheticLanguage::weight(std::size_t state, std::size_t rank) const {
  const std::size_t at = state * successors_ + rank;
  const double end = rank + 1 < successors_ ? static_cast<double>(bound_[at + 1]) : kRandomRange;
  return (end - static_cast<double>(bound_[at])) / kRandomRange;
}

// Power iteration until what moves in a step is at the rounding error.
std::vector<double> SyntheticLanguage::stationary_distribution() const {
  constexpr double kTolerance = 1e-13;
  constexpr int kMaxIterations = 1'000'000;
  std::vector<double> now(states_, 1 / static_cast<double>(states_));
  std::vector<double> then(states_);
  for (int iteration = 0; iteration < kMaxIterations; ++iteration) {
    std::fill(then.begin(), then.end(), 0.0);
    for (std::size_t state = 0; state < states_; ++state) {
      const auto current = static_cast<int32_t>(state % static_cast<std::size_t>(spec_.vocab_size));
      for (std::size_t rank = 0; rank < successors_; ++rank) {
        const int32_t next = next_[state * successors_ + rank];
        then[state_of(current, next)] += now[state] * weight(state, rank);
      }
    }
    double total = 0;
    for (const double p : then) total += p;
    double moved = 0;
    for (std::size_t state = 0; state < states_; ++state) {
      then[state] /= total;
      moved += std::abs(then[state] - now[state]);
    }
    now.swap(then);
    if (moved < kTolerance) return now;
  }
  throw Error(ExitCode::kInternal, "synthetic language: no stationary distribution was found");
}

void SyntheticLanguage::sample(uint64_t index, std::span<int32_t> out) const {
  if (out.empty()) return;
  const uint64_t key = stream_key(stream_key(spec_.seed, kSampleStream), index);
  const double place = unit_interval(counter_random(key, 0)) * cumulative_.back();
  const auto first = std::upper_bound(cumulative_.begin(), cumulative_.end() - 1, place);
  auto state = static_cast<std::size_t>(first - cumulative_.begin());
  out[0] = static_cast<int32_t>(state % static_cast<std::size_t>(spec_.vocab_size));
  for (std::size_t i = 1; i < out.size(); ++i) {
    const auto random = static_cast<uint32_t>(counter_random(key, i) >> 32);
    const uint32_t* bounds = &bound_[state * successors_];
    std::size_t rank = 0;  // the last successor whose share begins at or below `random`
    for (std::size_t r = 1; r < successors_; ++r) rank += bounds[r] <= random ? 1 : 0;
    out[i] = next_[state * successors_ + rank];
    state = state_of(out[i - 1], out[i]);
  }
}

double SyntheticLanguage::probability(int32_t previous, int32_t current, int32_t next) const {
  const std::size_t state = state_of(previous, current);
  for (std::size_t rank = 0; rank < successors_; ++rank) {
    if (next_[state * successors_ + rank] == next) return weight(state, rank);
  }
  return 0;
}

}  // namespace orrery
