#include "sim/calibrate/minimise.h"

#include <algorithm>
#include <cmath>

namespace orrery {
namespace {

using Point = std::vector<double>;  // in units of the bounds, 0 to 1

constexpr double kFirstStep = 0.08, kLastStep = 2e-5;
constexpr std::size_t kStarts = 4;
constexpr double kGridPoints = 4000;  // about as many evaluations as the grid may cost

class Search {
 public:
  Search(const std::function<double(std::span<const double>)>& loss, std::span<const Bound> bounds)
      : loss_(loss), bounds_(bounds), x_(bounds.size()) {}

  struct Scored {
    double loss = 0;
    Point u;
  };

  double value(std::size_t i, double u) const {
    const Bound& b = bounds_[i];
    return b.min + (b.max - b.min) * (b.fine_near_min ? u * u : u);
  }
  double unit(std::size_t i, double x) const {
    const Bound& b = bounds_[i];
    const double u = std::clamp((x - b.min) / (b.max - b.min), 0.0, 1.0);
    return b.fine_near_min ? std::sqrt(u) : u;
  }

  double at(const Point& u) {
    for (std::size_t i = 0; i < u.size(); ++i) x_[i] = value(i, u[i]);
    return loss_(x_);
  }

  // The best of the grid and of `start`, best first.
  std::vector<Scored> grid(std::span<const double> start) {
    const std::size_t n = bounds_.size();
    int side = 3;
    const auto total = [&](int s) {
      double t = 1;
      for (std::size_t i = 0; i < n; ++i) t *= s;
      return t;
    };
    while (side < 64 && total(side + 1) <= kGridPoints) ++side;
    std::vector<Scored> best;
    const auto take = [&](const Point& u) {
      best.push_back({at(u), u});
      std::stable_sort(best.begin(), best.end(),
                       [](const Scored& a, const Scored& b) { return a.loss < b.loss; });
      if (best.size() > kStarts) best.pop_back();
    };
    Point u(n);
    for (std::size_t i = 0; i < n; ++i) u[i] = unit(i, start[i]);
    take(u);
    std::vector<int> digit(n, 0);
    for (;;) {
      for (std::size_t i = 0; i < n; ++i) u[i] = (digit[i] + 0.5) / side;
      take(u);
      std::size_t i = 0;
      while (i < n && ++digit[i] == side) digit[i++] = 0;
      if (i == n) return best;
    }
  }

  void descend(Scored& s) {
    for (double step = kFirstStep; step > kLastStep;)
      if (!improve(s, step)) step /= 2;
  }

 private:
  // Takes the best of the 3^n - 1 neighbours if it is better.
  bool improve(Scored& s, double step) {
    const std::size_t n = s.u.size();
    std::vector<int> direction(n, -1);
    Scored best = s;
    for (;;) {
      Point u = s.u;
      for (std::size_t i = 0; i < n; ++i) u[i] = std::clamp(u[i] + direction[i] * step, 0.0, 1.0);
      if (const double loss = at(u); loss < best.loss) best = {loss, u};
      std::size_t i = 0;
      while (i < n && ++direction[i] == 2) direction[i++] = -1;
      if (i == n) break;
    }
    const bool better = best.loss < s.loss;
    s = std::move(best);
    return better;
  }

  const std::function<double(std::span<const double>)>& loss_;
  std::span<const Bound> bounds_;
  Point x_;
};

}  // namespace

Minimum minimise(const std::function<double(std::span<const double>)>& loss,
                 std::span<const Bound> bounds, std::span<const double> start, double worse) {
  Search search(loss, bounds);
  std::vector<Search::Scored> found = search.grid(start);
  for (Search::Scored& s : found) search.descend(s);
  const Search::Scored& best = *std::min_element(
      found.begin(), found.end(), [](const auto& a, const auto& b) { return a.loss < b.loss; });
  Minimum m;
  m.loss = best.loss;
  for (std::size_t i = 0; i < bounds.size(); ++i) m.x.push_back(search.value(i, best.u[i]));
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    const Bound& b = bounds[i];
    const double away = std::max(m.x[i] / 5, (b.max - b.min) * 0.03);
    const auto rises = [&](double to) {
      std::vector<double> x = m.x;
      x[i] = std::clamp(to, b.min, b.max);
      return x[i] == m.x[i] || loss(x) > m.loss + worse;
    };
    m.determined.push_back(rises(m.x[i] - away) && rises(m.x[i] + away));
    const double edge = (b.max - b.min) * 1e-3;
    m.at_bound.push_back(m.x[i] < b.min + edge || m.x[i] > b.max - edge);
  }
  return m;
}

}  // namespace orrery
