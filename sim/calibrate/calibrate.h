// From the points of a run to the constants of a GPU profile.
//
// Classes of kernels are fitted one after the other (launches, memory-bound patterns, GEMMs,
// attention, since attention's pre- and postprocessing stream), each on four fifths of its points,
// whose choice depends on the points alone; the held-back fifth gives the error to expect. The loss
// is the mean over points of h(e), e = max(predicted / measured, measured / predicted) - 1, the
// relative error the same both ways, with h(e) = sqrt(1 + (e / 0.03)^2) - 1: square for small
// errors, linear for large ones, so that one disturbed point does not bend the constants. A slight
// pull to the base profile's values decides between constants that fit alike.
//
// A constant that the points do not determine (the HBM efficiency of a GEMM when HBM limits none)
// keeps the base profile's value, and so do all that no point is about: peaks, bandwidths,
// static_W, pJ_per_byte. pJ_per_FLOP is not fitted but the median over the class's fitted points of
// what the formula of sim/cost/power.h gives for the clock that was counted. launch_gap_us is not
// fitted: it is the time in which no thread runs between two kernels of a graph. One by one in a
// stream (stream_launch_gap_us) it is longer by as much as empty kernels are further apart there.
#pragma once

#include <string>
#include <vector>

#include "sim/calibrate/constants.h"
#include "sim/calibrate/fit_constants.h"
#include "sim/calibrate/measured.h"

namespace orrery {

// Classes that nothing is fitted for.
constexpr char kGraphLaunches[] = "launch", kStreamLaunches[] = "launch in a stream",
               kL2Copies[] = "copy within L2";

struct PointError {
  std::size_t point = 0;  // of Measured::points
  double predicted_us = 0;
  double base_us = 0;  // predicted with the base profile's constants
  bool held_out = false;
  bool outlier = false;  // its error is far from those of its class

  double error(double measured_us) const { return predicted_us / measured_us - 1; }
  double base_error(double measured_us) const { return base_us / measured_us - 1; }
};

struct ClassFit {
  std::string name;  // "gemm_bf16", "memory_bound stream", ...
  std::vector<MeasuredConstant> constants;
  std::vector<PointError> points;
};

// How the reference kernel changed from the first fifth of its repeats to the last, in medians: at
// the power limit single repeats differ by a few percent.
struct Drift {
  bool known = false;
  double slowdown = 0;  // last over first, less 1
  double first_clock_MHz = 0, last_clock_MHz = 0, last_temperature_C = 0;
  bool flagged = false;  // by more than 2 % in time, or 4 % in clock
};

struct Calibration {
  GpuSpec gpu;  // the base with the measured constants
  std::vector<ClassFit> classes;
  // Points that nothing is fitted on: with another kernel beside them, or of no class. No
  // constants.
  std::vector<ClassFit> checks;
  std::vector<std::size_t> unsteady;  // points whose repeats spread by more than 5 % (mad_sigma)
  int64_t repeats = 0, wild_repeats = 0;  // all, and those far from the others of their point
  Drift drift;
};

Calibration calibrate_gpu(const Measured& measured, const GpuSpec& base);

// Fits the constants of `k` in `gpu`, from those of `base`, on four fifths of the points. Errors
// with the base's constants are those of `base`.
ClassFit fit_class(const Measured& measured, const FittedClass& k,
                   const std::vector<std::size_t>& points, GpuSpec& gpu, const GpuSpec& base);

// A fifth of the points, the same ones whatever their order: those whose names hash lowest. Fewer
// than five points: none.
std::vector<bool> held_back(const Measured& measured, const std::vector<std::size_t>& points);

}  // namespace orrery
