#include "sim/study/interval.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/base/text.h"

namespace orrery {

const std::string_view kErrorBasisNames[3] = {"other_stacks", "other_gpus", "same_gpu"};

namespace {

// Of the step's time, from the errors of the kernels that its GPU was calibrated with.
VarianceComponent calibration_variance(const StudySpec& s, const RateShares& shares,
                                       const VarianceComponent& between_gpus) {
  const GpuSpec& gpu = s.cluster.node.gpu;
  VarianceComponent v;
  double rest = 1, over = 0;
  for (int f = 0; f < kRateFamilies; ++f) {
    const HeldOutErrors e = held_out_errors(gpu, s.stack, f);
    if (e.points == 0) continue;
    const double part = squared(shares[static_cast<std::size_t>(f)] * e.rms_ln);
    rest -= shares[static_cast<std::size_t>(f)];
    v.variance += part;
    over += squared(part) / e.points;
  }
  const double part = squared(rest) * between_gpus.variance;
  v.variance += part;
  if (between_gpus.dof > 0) over += squared(part) / between_gpus.dof;
  v.dof = over > 0 ? squared(v.variance) / over : 0;
  return v;
}

double assumed_share(const StudySpec& s, const RateShares& shares) {
  double share = 0;
  for (int f = 0; f < kRateFamilies; ++f)
    if (rate_is_assumed(s.cluster.node.gpu, s.stack, f))
      share += shares[static_cast<std::size_t>(f)];
  return share;
}

ErrorBasis basis_of(const Predictive& p) {
  if (p.stack_runs == 0) return ErrorBasis::kOtherStacks;
  return p.gpu_runs == 0 ? ErrorBasis::kOtherGpus : ErrorBasis::kSameGpu;
}

std::string runs_text(int n) { return fmt::format("{} run{}", n, n == 1 ? "" : "s"); }

std::string stack_text(const StudySpec& s, const Predictive& p) {
  if (p.stack_runs > 0)
    return fmt::format("{} of its stack, {}", p.stack_runs,
                       p.gpu_runs == 0 ? std::string("none of these on its GPU")
                                       : fmt::format("{} of these on its GPU", p.gpu_runs));
  return fmt::format("none of its stack, whose step_speed is {}",
                     s.stack.step_speed.profile.empty() ? "assumed to be 1" : "set by hand");
}

FigureInterval time_interval(const StudySpec& s, const Spread& spread, const RateShares& shares) {
  NewRun run;
  run.stack = residual_stack(s.stack);
  run.gpu = s.gpu_changed ? "" : s.cluster.node.gpu.name;
  run.stack_fitted = stack_is_fitted(s.stack);
  const StepSpeed& speed = s.stack.step_speed;
  run.at_prior = speed.matrix.value == 1 && speed.memory_bound.value == 1;
  const bool calibrated = !s.cluster.node.gpu.calibration.empty();
  if (calibrated) run.own_gpu = calibration_variance(s, shares, spread.gpu);
  const double assumed = assumed_share(s, shares);
  run.extra_gpu_variance = squared(assumed * s.residuals.assumed_rate.value);
  FigureInterval i;
  i.error = predictive(spread, s.residuals.time, run);
  i.factors = i.error.factors(kIntervalLevel);
  i.basis = basis_of(i.error);
  i.rests_on = fmt::format("{} of {} stacks, {}", runs_text(spread.runs), spread.stacks,
                           stack_text(s, i.error));
  if (i.error.gpu_runs == 0 && calibrated) i.rests_on += "; its GPU was calibrated";
  if (i.error.gpu_runs == 0 && assumed > 0)
    i.rests_on += fmt::format("; {} of the kernels' time is at assumed rates", percent(assumed));
  return i;
}

FigureInterval memory_interval(const StudySpec& s, const Spread& spread) {
  NewRun run;
  run.stack = memory_residual_stack(s.stack);
  FigureInterval i;
  i.error = predictive(spread, s.residuals.memory, run);
  i.factors = i.error.factors(kIntervalLevel);
  i.basis = basis_of(i.error);
  i.rests_on =
      fmt::format("{} of {} stacks, {} of its stack", runs_text(spread.runs), spread.stacks,
                  i.error.stack_runs == 0 ? "none" : std::to_string(i.error.stack_runs));
  return i;
}

}  // namespace

std::string residual_stack(const StackSpec& stack) {
  const StepSpeed& s = stack.step_speed;
  if (s.profile.empty()) return stack.name;
  const bool by_hand =
      s.matrix.source == Source::kAssumed || s.memory_bound.source == Source::kAssumed;
  return by_hand ? "" : s.profile;
}

std::string memory_residual_stack(const StackSpec& stack) {
  return stack.step_speed.profile.empty() ? stack.name : stack.step_speed.profile;
}

bool stack_is_fitted(const StackSpec& stack) {
  return !stack.step_speed.profile.empty() && !residual_stack(stack).empty();
}

PredictionInterval prediction_interval(const StudySpec& study, const RateShares& shares) {
  PredictionInterval p;
  const Spread time = estimate_spread(study.residuals.time);
  const Spread memory = estimate_spread(study.residuals.memory);
  if (time.known()) p.time = time_interval(study, time, shares);
  if (memory.known()) p.memory = memory_interval(study, memory);
  return p;
}

}  // namespace orrery
