#include "sim/study/spread.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <map>

namespace orrery {
namespace {

struct Group {
  double sum = 0, squares = 0;
  int n = 0;

  void add(double x) { sum += x, squares += x * x, ++n; }
  double mean() const { return sum / n; }
};

struct Stack {
  std::map<std::string, Group> gpus;
  Group all;
  Group unfitted;
  bool fitted = false;

  // Of the variance between GPUs in the variance of the stack's mean.
  double gpu_weight() const {
    double w = 0;
    for (const auto& [name, g] : gpus) w += std::pow(g.n, 2) / std::pow(all.n, 2);
    return w;
  }
};

std::map<std::string, Stack> by_stack(std::span<const RunResidual> rows) {
  std::map<std::string, Stack> stacks;
  for (const RunResidual& r : rows) {
    Stack& s = stacks[r.stack];
    s.gpus[r.gpu].add(r.ln_ratio);
    s.all.add(r.ln_ratio);
    s.unfitted.add(r.ln_unfitted);
    s.fitted = s.fitted || r.stack_fitted;
  }
  return stacks;
}

VarianceComponent between_stacks(const std::map<std::string, Stack>& stacks, Spread& s) {
  Group means;
  double within = 0;  // what a mean varies by beside its stack
  for (const auto& [name, stack] : stacks) {
    means.add(stack.unfitted.mean());
    within += stack.gpu_weight() * s.gpu.variance + s.run.variance / stack.all.n;
  }
  const double m = means.n;
  double about = 0;
  for (const auto& [name, stack] : stacks)
    about += std::pow(stack.unfitted.mean() - means.mean(), 2);
  const double total = about / (m - 1);
  s.mean = means.mean();
  s.mean_variance = total / m;
  return {std::max(0.0, total - within / m), m - 1};
}

}  // namespace

Spread estimate_spread(std::span<const RunResidual> rows) {
  const std::map<std::string, Stack> stacks = by_stack(rows);
  Spread s;
  s.runs = static_cast<int>(rows.size());
  s.stacks = static_cast<int>(stacks.size());
  double run_squares = 0, gpu_squares = 0, gpu_coefficient = 0;
  for (const auto& [name, stack] : stacks) {
    const auto gpus = static_cast<int>(stack.gpus.size());
    s.run.dof += std::max(0, stack.all.n - gpus - (stack.fitted ? 1 : 0));
    s.gpu.dof += gpus - 1;
    gpu_coefficient += stack.all.n * (1 - stack.gpu_weight());
    for (const auto& [gpu, g] : stack.gpus)
      gpu_squares += g.n * squared(g.mean() - stack.all.mean());
  }
  for (const RunResidual& r : rows)
    run_squares += squared(r.ln_ratio - stacks.at(r.stack).gpus.at(r.gpu).mean());
  if (s.run.dof > 0) s.run.variance = run_squares / s.run.dof;
  if (s.gpu.dof > 0)
    s.gpu.variance = std::max(0.0, (gpu_squares - s.gpu.dof * s.run.variance) / gpu_coefficient);
  if (s.stacks > 1) s.stack = between_stacks(stacks, s);
  return s;
}

Predictive predictive(const Spread& spread, std::span<const RunResidual> rows, const NewRun& run) {
  const std::map<std::string, Stack> stacks = by_stack(rows);
  const auto found = stacks.find(run.stack);
  const double run_variance = std::max(spread.run.variance, 1e-12);  // weights stay finite
  const bool mean_known = run.stack_fitted || !run.at_prior;
  const double prior_mean = mean_known ? 0 : spread.mean;
  const double prior =
      std::max(spread.stack.variance + (mean_known ? 0 : spread.mean_variance), 1e-12);
  // The stack's effect, from its runs on other GPUs: parts of the variance of its estimate.
  double precision = 1 / prior, sum = prior_mean / prior;
  double gpu_of_stack = 0, run_of_stack = 0;
  Group here;
  Predictive p;
  if (found != stacks.end()) {
    p.stack_runs = found->second.all.n;
    for (const auto& [gpu, g] : found->second.gpus) {
      if (gpu == run.gpu) {
        here = g;
        continue;
      }
      const double of_mean = spread.gpu.variance + run_variance / g.n;
      precision += 1 / of_mean;
      sum += g.mean() / of_mean;
      gpu_of_stack += spread.gpu.variance / squared(of_mean);
      run_of_stack += run_variance / g.n / squared(of_mean);
    }
  }
  p.gpu_runs = here.n;
  const double stack_part = 1 / prior / squared(precision);
  gpu_of_stack /= squared(precision);
  run_of_stack /= squared(precision);
  // Then that of the stack on this GPU, from the runs there.
  const bool own = run.own_gpu.dof > 0 && here.n == 0;
  const double gpu_variance = (own ? run.own_gpu.variance : spread.gpu.variance) +
                              (here.n == 0 ? run.extra_gpu_variance : 0);
  const double before = 1 / precision + gpu_variance;
  const double weight = here.n == 0 ? 0 : before / (before + run_variance / here.n);
  p.centre = (1 - weight) * sum / precision + weight * (here.n == 0 ? 0 : here.mean());
  const double left = squared(1 - weight);
  p.stack_part = left * stack_part;
  p.gpu_part = left * (gpu_of_stack + gpu_variance);
  p.run_part = left * run_of_stack + run_variance +
               (here.n == 0 ? 0 : squared(weight) * run_variance / here.n);
  p.variance = p.stack_part + p.gpu_part + p.run_part;
  double over = squared(p.stack_part) / spread.stack.dof + squared(p.run_part) / spread.run.dof;
  const double gpu_dof = own ? run.own_gpu.dof : spread.gpu.dof;
  if (gpu_dof > 0) over += squared(p.gpu_part) / gpu_dof;
  p.dof = squared(p.variance) / over;
  return p;
}

double student_t_quantile(double p, double dof) {
  return boost::math::quantile(boost::math::students_t_distribution<double>(dof), p);
}

Predictive::Factors Predictive::factors(double level) const {
  const double reach = student_t_quantile((1 + level) / 2, dof) * std::sqrt(variance);
  return {std::exp(centre - reach), std::exp(centre + reach)};
}

}  // namespace orrery
