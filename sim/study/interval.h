// The interval of a prediction: between which factors of it the truth lies in nine cases of ten.
//
// It is that of sim/study/spread.h, for the step's time and for the highest peak of memory; all
// that is proportional to the step (rates, GPU-hours, days, cost at the stated price) has its
// factors. What decides its width and centre is what the prediction rests on, never which
// experiment it is:
// - The stack. Known by the file that says its step_speed (else by its name): the runs of the
//   residuals with the same one count as its own. A stack without a fitted step_speed is a new draw
//   from all stacks, and so is one whose step_speed was set by hand; the former is centred on the
//   mean of the stacks of the residuals at the same step_speed of 1.
// - The GPU, known by the name of its profile; one that an override changed is none of them. Where
//   no run of the stack was on it, its constants count:
//     calibrated   variance (sum over families f of kernels of (share_f rms_f)^2) + (share of other
//                  kernels)^2 s_c^2, rms_f the error at the points that `orrery calibrate` held
//                  back, share_f of the step's compute time: errors of one family are taken as
//                  equal, of two families as independent
//     otherwise    s_c^2, the spread between GPUs
//   plus (share of kernels whose rate is assumed x assumed_rate)^2.
//
// Valid for runs like those of the residuals: published, tuned by their authors, with steps of
// tenths of a second and more. Ignored: assumed constants of links, the price's own uncertainty,
// what a plan or model unlike any of the runs adds, and the list in spread.h. A bound of memory is
// of what the runs publish, mostly what PyTorch's allocator reserved.
#pragma once

#include <optional>
#include <string>

#include "sim/study/experiment.h"
#include "sim/study/rates.h"
#include "sim/study/spread.h"

namespace orrery {

constexpr double kIntervalLevel = 0.9;

// What a prediction knows about the error of its figure.
enum class ErrorBasis : uint8_t {
  kOtherStacks,  // no run of its stack
  kOtherGpus,    // runs of its stack, on other GPUs
  kSameGpu,      // runs of its stack on its GPU; with memory: of its stack
};
extern const std::string_view kErrorBasisNames[3];  // "other_stacks", "other_gpus", "same_gpu"

struct FigureInterval {
  Predictive error;  // ln(truth / prediction)
  Predictive::Factors factors;
  ErrorBasis basis = ErrorBasis::kOtherStacks;
  std::string rests_on;  // in words
};

// Empty where the residuals are too few to estimate a spread.
struct PredictionInterval {
  std::optional<FigureInterval> time, memory;
};

PredictionInterval prediction_interval(const StudySpec& study, const RateShares& shares);

// The name under which the residuals of the step's time of this stack's runs are kept; "" when its
// step_speed was set by hand.
std::string residual_stack(const StackSpec& stack);
// The same for memory, which step_speed does not touch.
std::string memory_residual_stack(const StackSpec& stack);
// Its step_speed is a fit's.
bool stack_is_fitted(const StackSpec& stack);

}  // namespace orrery
