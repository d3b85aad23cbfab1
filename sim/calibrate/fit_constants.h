// The fit of some constants of a model on some of the measured points; calibrate.h has the loss and
// the rules. `Model`: a GpuSpec, or the links and the library of collectives.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "sim/calibrate/minimise.h"

namespace orrery {

// A constant as it came out.
struct MeasuredConstant {
  std::string pointer;  // in the profile: "/gemm_bf16/mainloop_efficiency"
  double value = 0;     // rounded to four digits, as it is written
  double base = 0;      // of the profile that the derived one extends
  bool measured = false;
  bool at_bound = false;  // of what a profile may say: look at the points
};

template <class Model>
struct FreeConstant {
  std::string pointer;
  std::function<double&(Model&)> of;
  Bound bound;
};

// Four significant digits: more do not repeat.
double four_digits(double x);

// h of calibrate.h.
double point_loss(double predicted, double measured);

// `predict(model, i)` and `measured(i)`: of the i-th point, in one unit. `model` gets the
// constants.
template <class Model, class Predict, class MeasuredOf>
class ConstantFit {
 public:
  ConstantFit(const std::vector<FreeConstant<Model>>& constants,
              const std::vector<std::size_t>& points, Predict predict, MeasuredOf measured)
      : constants_(constants), points_(points), predict_(predict), measured_(measured) {}

  std::vector<MeasuredConstant> run(Model& model, Model base) {
    base_ = model;
    std::vector<double> start;
    for (const FreeConstant<Model>& c : constants_) {
      start.push_back(c.of(base));
      c.of(base_) = start.back();
    }
    std::vector<bool> free(constants_.size(), true);
    Minimum best = minimise_free(start, free);
    // What is not determined goes back to the base, and the others are fitted again beside it.
    for (std::size_t i = 0; i < free.size(); ++i) free[i] = best.determined[i];
    if (std::find(free.begin(), free.end(), false) != free.end()) best = minimise_free(start, free);
    std::vector<MeasuredConstant> fitted;
    for (std::size_t i = 0; i < free.size(); ++i) {
      const double value = free[i] ? four_digits(best.x[i]) : start[i];
      constants_[i].of(model) = value;
      fitted.push_back(
          {constants_[i].pointer, value, start[i], free[i], free[i] && best.at_bound[i]});
    }
    return fitted;
  }

 private:
  // Over the constants that are free; the result has a place for each.
  Minimum minimise_free(const std::vector<double>& start, const std::vector<bool>& free) {
    Model model = base_;
    std::vector<Bound> bounds;
    std::vector<double> from;
    std::vector<std::size_t> place;
    for (std::size_t i = 0; i < free.size(); ++i) {
      if (!free[i]) continue;
      bounds.push_back(constants_[i].bound), from.push_back(start[i]), place.push_back(i);
    }
    Minimum all;
    all.x.resize(free.size()), all.determined.resize(free.size()), all.at_bound.resize(free.size());
    if (place.empty() || points_.empty()) return all;
    const auto loss = [&](std::span<const double> x) {
      for (std::size_t j = 0; j < place.size(); ++j) constants_[place[j]].of(model) = x[j];
      double sum = 0;
      for (const std::size_t p : points_) sum += point_loss(predict_(model, p), measured_(p));
      double away = 0;
      for (std::size_t j = 0; j < place.size(); ++j) {
        const double part = (x[j] - from[j]) / (bounds[j].max - bounds[j].min);
        away += part * part;
      }
      return sum / static_cast<double>(points_.size()) + kPull * away;
    };
    const Minimum found = minimise(loss, bounds, from, kWorse);
    all.loss = found.loss;
    for (std::size_t j = 0; j < place.size(); ++j) {
      all.x[place[j]] = found.x[j];
      all.determined[place[j]] = found.determined[j];
      all.at_bound[place[j]] = found.at_bound[j];
    }
    return all;
  }

  // A rise of the loss that says something: about that of 1 % more error of every 25th point.
  static constexpr double kWorse = 0.002;
  // For each constant, of the square of its way from the base as a part of its range: where two
  // constants can stand for each other, they stay together.
  static constexpr double kPull = 0.05;

  const std::vector<FreeConstant<Model>>& constants_;
  const std::vector<std::size_t>& points_;
  Predict predict_;
  MeasuredOf measured_;
  Model base_;
};

}  // namespace orrery
