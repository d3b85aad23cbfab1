// How far truths lie from predictions, estimated from the residuals of published runs.
//
// Model. r = ln(published / predicted) of run i of stack j on GPU k is
//   r_jki = b_j + c_jk + e_jki,   b ~ N(m_j, s_b^2),  c ~ N(0, s_c^2),  e ~ N(0, s_e^2):
// what a stack, a stack on one GPU and a single run add. The variances are those of the nested
// random-effects analysis of variance for unequal groups (Searle, Casella and McCulloch, Variance
// Components, 1992, ch. 3), with N runs in K pairs (j, k) of M stacks:
//   s_e^2 = sum (r_jki - r_jk)^2 / v_e,    v_e = sum over stacks of max(0, n_j - K_j - f_j),
//   s_c^2 = max(0, (sum n_jk (r_jk - r_j)^2 - (K - M) s_e^2) / (N - sum n_jk^2 / n_j)),
//   s_b^2 = max(0, S^2 - mean over stacks of (s_c^2 sum_k n_jk^2 / n_j^2 + s_e^2 / n_j)).
// f_j = 1 when the stack's step_speed was fitted on its runs: its two constants take the level,
// which the means take here too, and one degree of freedom more. S^2 is the variance of the stacks'
// unweighted mean residuals with step_speed at 1: what a stack without a fit would show. m_j is 0
// for a stack with a fit, and else the mean of those stack means, whose own variance S^2 / M is
// added to s_b^2.
//
// A new run of stack j on GPU k has, given the runs known of that stack, the normal conditional
// distribution of b_j + c_jk + e (the best linear unbiased prediction): first b_j from the stack's
// other GPUs, then b_j + c_jk from the runs on that GPU. Without any run it is the prior
// (m_j; s_b^2 + s_c^2 + s_e^2), with many it tends to (their mean; s_e^2); every run narrows it.
// The bounds are centre -+ t sqrt(variance), t Student's quantile with the degrees of freedom of
// Welch and Satterthwaite (Biometrics Bulletin 2, 1946): V^2 / sum (V_x^2 / v_x) over the shares
// V_x of the three variances in V.
//
// Ignored: that runs of one stack may scatter more than those of another, that tails may be heavier
// than normal, that runs of one publication err together beyond their stack, and the error of the
// weights themselves. O(runs).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "sim/spec/residuals.h"

namespace orrery {

inline double squared(double x) { return x * x; }

// A variance of ln(published / predicted) with the degrees of freedom it was estimated with.
struct VarianceComponent {
  double variance = 0;
  double dof = 0;  // 0: not estimated
};

struct Spread {
  VarianceComponent stack, gpu, run;
  double mean = 0;           // of stacks without a fit
  double mean_variance = 0;  // of that mean
  int runs = 0, stacks = 0;

  // Two stacks, and one with more runs than GPUs: less says nothing.
  bool known() const { return run.dof > 0 && stack.dof > 0; }
};

Spread estimate_spread(std::span<const RunResidual> rows);

// What is asked about, beside the rows.
struct NewRun {
  std::string stack, gpu;
  bool stack_fitted = false;  // its step_speed: the prior mean is then 0
  bool at_prior = true;       // its step_speed is 1: the mean of unfitted stacks applies
  // In place of the spread between GPUs when no row is of this stack on this GPU: an own
  // calibration, say. dof 0: none.
  VarianceComponent own_gpu;
  double extra_gpu_variance = 0;  // added to it in that case: assumed constants
};

// The distribution of ln(truth / prediction).
struct Predictive {
  double centre = 0;
  double variance = 0;
  double dof = 0;
  // Parts of the variance, in that order from stack, GPU and run. They sum to it.
  double stack_part = 0, gpu_part = 0, run_part = 0;
  int stack_runs = 0, gpu_runs = 0;  // rows of that stack, and of those on that GPU

  // Factors on the prediction between which the truth lies with probability `level`.
  struct Factors {
    double low = 1, high = 1;
  };
  Factors factors(double level) const;
};

Predictive predictive(const Spread& spread, std::span<const RunResidual> rows, const NewRun& run);

// Student's t below which a share p of the distribution lies; dof > 0, need not be whole.
double student_t_quantile(double p, double dof);

}  // namespace orrery
