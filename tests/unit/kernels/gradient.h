// Finite differences for tests of gradients, in double.
#pragma once

#include <cstddef>
#include <random>
#include <vector>

namespace test {

// d f / d x[i] by central difference: the error is of order step².
template <class F>
double central_difference(std::vector<double>& x, std::size_t i, F f) {
  constexpr double kStep = 1e-5;
  const double at = x[i];
  x[i] = at + kStep;
  const double above = f();
  x[i] = at - kStep;
  const double below = f();
  x[i] = at;
  return (above - below) / (2 * kStep);
}

inline std::vector<double> normal_values(std::size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> d;
  std::vector<double> v(n);
  for (double& x : v) x = d(engine);
  return v;
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace test
