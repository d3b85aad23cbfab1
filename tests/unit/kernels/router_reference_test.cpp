#include "kernels/moe/router_reference.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/catch.h"

namespace orrery::kernels {
namespace {

using Values = std::vector<double>;
using Words = std::vector<int32_t>;

std::size_t index_of(int64_t n) { return static_cast<std::size_t>(n); }

struct RouterRandom {
  uint64_t seed = std::random_device{}();
  std::mt19937_64 engine{seed};
  Values normal(int64_t n) {
    std::normal_distribution<double> d;
    Values v(index_of(n));
    for (double& x : v) x = d(engine);
    return v;
  }
  int64_t below(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(engine); }
};

struct Routed {
  Words routing;
  Values weights, load;
  Words ids(int64_t token, int64_t k) const {
    const auto first = routing.begin() + token * kRoutingWords * k;
    return {first, first + k};
  }
};

Routed route(const RouterConfig& c, const Values& logits, const Values& bias = {}) {
  const int64_t tokens = static_cast<int64_t>(logits.size()) / c.experts;
  Routed r{Words(index_of(tokens * kRoutingWords * c.k)), Values(index_of(tokens * c.k)),
           Values(index_of(c.experts))};
  router_reference(c, tokens, logits.data(), bias.empty() ? nullptr : bias.data(), r.routing.data(),
                   r.weights.data(), r.load.data());
  return r;
}

// The subset of `count` of n candidates with the highest sum of values, by trying all.
unsigned best_subset(int n, int count, unsigned candidates, const Values& values) {
  unsigned best = 0;
  double highest = -std::numeric_limits<double>::infinity();
  for (unsigned set = 0; set < 1u << n; ++set) {
    if (std::popcount(set) != count || (set & ~candidates) != 0) continue;
    double sum = 0;
    for (int i = 0; i < n; ++i)
      if (set >> i & 1) sum += values[index_of(i)];
    if (sum > highest) highest = sum, best = set;
  }
  return best;
}

// Experts of one token by exhaustive search.
unsigned best_experts(const RouterConfig& c, const Values& choice, bool best_only) {
  const int n = static_cast<int>(c.experts), size = static_cast<int>(c.experts / c.groups);
  Values group;
  for (int g = 0; g < c.groups; ++g) {
    const Values members(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    const int count = best_only ? 1 : std::min(2, size);
    const unsigned best = best_subset(size, count, (1u << size) - 1, members);
    group.push_back(0);
    for (int i = 0; i < size; ++i)
      if (best >> i & 1) group.back() += members[index_of(i)];
  }
  const int groups = static_cast<int>(c.groups);
  const unsigned open =
      best_subset(groups, static_cast<int>(c.top_groups), (1u << groups) - 1, group);
  unsigned candidates = 0;
  for (int e = 0; e < n; ++e) candidates |= (open >> (e / size) & 1) << e;
  return best_subset(n, static_cast<int>(c.k), candidates, choice);
}

Values scores_of(const RouterConfig& c, const double* logits) {
  Values s;
  double sum = 0;
  for (int64_t e = 0; e < c.experts; ++e) sum += std::exp(logits[e]);
  for (int64_t e = 0; e < c.experts; ++e)
    s.push_back(c.score == RouterScore::kSoftmax ? std::exp(logits[e]) / sum
                                                 : 1 / (1 + std::exp(-logits[e])));
  return s;
}

}  // namespace

TEST_CASE("The router takes the best experts of the best groups and weighs them by their scores",
          "[moe]") {
  // Choice scores: groups {0.55, 0.5}, {0.9, 0.1} and {0.6, 0.6}.
  const RouterConfig c{.experts = 6, .k = 3, .groups = 3, .top_groups = 2, .scale = 2.5f};
  const auto logit = [](double s) { return std::log(s / (1 - s)); };
  const Values logits = {0, 0, logit(0.8), logit(0.2), logit(0.6), logit(0.6)};
  Routed r = route(c, logits, {0.05, 0, 0.1, -0.1, 0, 0});
  CHECK(r.ids(0, 3) == Words{4, 5, 0});
  CHECK(r.weights[0] == Approx(2.5 * 0.6 / 1.7));
  CHECK(r.weights[2] == Approx(2.5 * 0.5 / 1.7));  // without the bias
  CHECK(word_to_float(r.routing[3]) == Approx(2.5 * 0.6 / 1.7));
  CHECK(word_to_float(r.routing[8]) == Approx(0.5));
  CHECK(r.load == Values{1, 0, 0, 0, 1, 1});
  r = route(c, logits, {0, 0, 0.2, -0.1, 0, 0});
  CHECK(r.ids(0, 3) == Words{2, 4, 5});
}

TEST_CASE("The router breaks ties by index and takes NaN last", "[moe]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  RouterConfig c{.experts = 6, .k = 4};
  CHECK(route(c, Values(6, 0.25)).ids(0, 4) == Words{0, 1, 2, 3});
  CHECK(route(c, {nan, 1, nan, 1, 2, nan}).ids(0, 4) == Words{4, 1, 3, 0});
  c.groups = 3, c.top_groups = 2;
  CHECK(route(c, Values(6, 0.25)).ids(0, 4) == Words{0, 1, 2, 3});
  CHECK(route(c, {nan, nan, 1, 1, 1, 1}).ids(0, 4) == Words{2, 3, 4, 5});
}

TEST_CASE("The router agrees with exhaustive search", "[moe]") {
  RouterRandom random;
  INFO("seed " << random.seed);
  for (int trial = 0; trial < 60; ++trial) {
    RouterConfig c{.experts = 12, .k = 1 + random.below(3)};
    c.groups = std::vector<int64_t>{1, 2, 3, 4, 6, 12}[index_of(random.below(6))];
    const int64_t needed = (c.k + 12 / c.groups - 1) / (12 / c.groups);
    c.top_groups = needed + random.below(c.groups - needed + 1);
    c.score = trial % 2 == 0 ? RouterScore::kSigmoid : RouterScore::kSoftmax;
    c.normalize = trial % 3 != 0;
    c.scale = 1.5f;
    const Values logits = random.normal(3 * c.experts);
    const Values bias = trial % 5 < 2 ? Values{} : random.normal(c.experts);
    const Routed r = route(c, logits, bias);
    for (int64_t t = 0; t < 3; ++t) {
      CAPTURE(trial, t, c.k, c.groups, c.top_groups);
      const Values score = scores_of(c, logits.data() + t * c.experts);
      Values choice = score;
      for (std::size_t e = 0; e < bias.size(); ++e) choice[e] += bias[e];
      const Words ids = r.ids(t, c.k);
      unsigned chosen = 0;
      double sum = 0;
      for (std::size_t j = 0; j < ids.size(); ++j) {
        chosen |= 1u << ids[j];
        sum += score[index_of(ids[j])];
        if (j > 0) CHECK(choice[index_of(ids[j])] <= choice[index_of(ids[j - 1])]);
      }
      const bool best_only = c.score == RouterScore::kSoftmax && bias.empty();
      CHECK(chosen == best_experts(c, choice, best_only));
      for (int64_t j = 0; j < c.k; ++j)
        CHECK(r.weights[index_of(t * c.k + j)] ==
              Approx(1.5 * score[index_of(ids[index_of(j)])] / (c.normalize ? sum : 1)));
    }
  }
}

TEST_CASE("The router's gradient is that of finite differences", "[moe]") {
  RouterRandom random;
  INFO("seed " << random.seed);
  for (const RouterScore score : {RouterScore::kSigmoid, RouterScore::kSoftmax})
    for (const bool normalize : {true, false}) {
      CAPTURE(static_cast<int>(score), normalize);
      const RouterConfig c{
          .experts = 10, .k = 4, .score = score, .normalize = normalize, .scale = 2};
      Values logits = random.normal(3 * c.experts);
      const Values dweights = random.normal(3 * c.k);
      const Routed r = route(c, logits);
      Values gradient(logits.size(), -7);
      router_backward_reference(c, 3, logits.data(), r.routing.data(), dweights.data(),
                                gradient.data());
      const double step = 1e-6;
      const auto loss = [&](std::size_t i, double by) {
        const double was = logits[i];
        logits[i] = was + by;
        const Routed moved = route(c, logits);
        logits[i] = was;
        for (int64_t t = 0; t < 3; ++t) REQUIRE(moved.ids(t, c.k) == r.ids(t, c.k));
        double sum = 0;
        for (std::size_t j = 0; j < dweights.size(); ++j) sum += dweights[j] * moved.weights[j];
        return sum;
      };
      for (std::size_t i = 0; i < logits.size(); ++i)
        CHECK(gradient[i] == Approx((loss(i, step) - loss(i, -step)) / (2 * step)).margin(1e-8));
    }
}

TEST_CASE("A router configuration that cannot be is named", "[moe]") {
  const auto error = [](const RouterConfig& c) { return check_router("router", c).error; };
  CHECK(error({.experts = 8, .k = 4, .groups = 4, .top_groups = 2}).empty());
  CHECK(error({.experts = 8, .k = 5, .groups = 4, .top_groups = 2}) ==
        "router: k is above the number of experts in top_groups groups");
  CHECK(error({.experts = 8, .k = 2, .groups = 3, .top_groups = 2}) ==
        "router: groups does not divide experts");
  CHECK(error({.experts = 1025, .k = 2}) == "router: experts is not within 1 to 1024");
  CHECK(error({.experts = 64, .k = 33}) == "router: k is not within 1 to 32");
}

}  // namespace orrery::kernels
