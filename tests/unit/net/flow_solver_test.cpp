#include "sim/net/flow_solver.h"

#include <algorithm>
#include <random>

#include "tests/catch.h"

using namespace orrery;

namespace {

using Path = std::vector<uint32_t>;

struct Case {
  std::vector<double> capacity;
  std::vector<Path> paths;
  std::vector<uint32_t> weights;
  std::vector<double> caps;

  std::vector<double> solve() const {
    FlowSolver s(capacity);
    for (std::size_t f = 0; f < paths.size(); ++f) s.add(paths[f], weights[f], caps[f]);
    return s.solve();
  }
};

Case random_case(std::mt19937& random) {
  const auto up_to = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  Case c;
  const uint32_t links = 1 + up_to(8), flows = 1 + up_to(12);
  for (uint32_t l = 0; l < links; ++l) c.capacity.push_back(1 + up_to(10));
  for (uint32_t f = 0; f < flows; ++f) {
    Path p;
    for (uint32_t l = 0; l < links; ++l)
      if (random() % 3 == 0) p.push_back(l);
    c.caps.push_back(p.empty() || random() % 3 == 0 ? 0.5 + up_to(6) : FlowSolver::kUncapped);
    c.paths.push_back(p);
    c.weights.push_back(1 + up_to(3));
  }
  return c;
}

}  // namespace

TEST_CASE("The textbook's line of three links", "[net]") {
  // Flow 0 over links 0 and 1, flow 1 on 0, flow 2 on 1 of twice the capacity: 0 and 1 share link 0
  // by halves; flow 2 gets what flow 0 leaves.
  const Case c{{1, 2}, {{0, 1}, {0}, {1}}, {1, 1, 1}, {9, 9, 9}};
  const std::vector<double> x = c.solve();
  CHECK(x[0] == 0.5);
  CHECK(x[1] == 0.5);
  CHECK(x[2] == 1.5);
}

TEST_CASE("Weights and caps share a link", "[net]") {
  // 10 among weights 1, 1, 2 with the first capped at 1: 1, 3, 6.
  const Case c{{10}, {{0}, {0}, {0}}, {1, 1, 2}, {1, 99, 99}};
  CHECK(c.solve() == std::vector<double>{1, 3, 6});
}

TEST_CASE("Every flow is at its cap or has a full link where none gets more (KKT)", "[net]") {
  std::mt19937 random(20240607);
  for (int round = 0; round < 400; ++round) {
    const Case c = random_case(random);
    const std::vector<double> x = c.solve();
    std::vector<double> used(c.capacity.size());
    for (std::size_t f = 0; f < x.size(); ++f)
      for (uint32_t l : c.paths[f]) used[l] += x[f];
    constexpr double kSlack = 1e-9;
    CAPTURE(round);
    for (std::size_t l = 0; l < used.size(); ++l) REQUIRE(used[l] <= c.capacity[l] + kSlack);
    for (std::size_t f = 0; f < x.size(); ++f) {
      REQUIRE(x[f] <= c.caps[f]);
      bool bottleneck = x[f] >= c.caps[f] - kSlack;
      for (uint32_t l : c.paths[f]) {
        bool largest = used[l] >= c.capacity[l] - kSlack;
        for (std::size_t g = 0; g < x.size(); ++g)
          if (std::count(c.paths[g].begin(), c.paths[g].end(), l) != 0)
            largest = largest && x[g] / c.weights[g] <= x[f] / c.weights[f] + kSlack;
        bottleneck = bottleneck || largest;
      }
      REQUIRE(bottleneck);
    }
  }
}

TEST_CASE("Rates do not depend on the order of flows, bit for bit", "[net]") {
  std::mt19937 random(7);
  for (int round = 0; round < 100; ++round) {
    const Case c = random_case(random);
    std::vector<std::size_t> order(c.paths.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    Case shuffled{c.capacity, {}, {}, {}};
    for (std::size_t i : order) {
      shuffled.paths.push_back(c.paths[i]);
      shuffled.weights.push_back(c.weights[i]);
      shuffled.caps.push_back(c.caps[i]);
    }
    const std::vector<double> x = c.solve(), y = shuffled.solve();
    for (std::size_t i = 0; i < order.size(); ++i) REQUIRE(y[i] == x[order[i]]);
  }
}

TEST_CASE("Symmetric flows get equal rates, however many there are", "[net]") {
  // 4096 flows on one link and each on one of its own: all the same bits.
  FlowSolver s(std::vector<double>(4097, 1.0 / 3));
  for (uint32_t f = 0; f < 4096; ++f) {
    const Path p = {f, 4096};
    s.add(p);
  }
  const std::vector<double>& x = s.solve();
  CHECK(std::all_of(x.begin(), x.end(), [&](double r) { return r == x[0]; }));
  CHECK(x[0] == Approx(1.0 / 3 / 4096));
}

TEST_CASE("Solving a component again equals solving all of the active flows", "[net]") {
  std::mt19937 random(99);
  for (int round = 0; round < 200; ++round) {
    const Case c = random_case(random);
    FlowSolver s(c.capacity);
    for (std::size_t f = 0; f < c.paths.size(); ++f) s.add(c.paths[f], c.weights[f], c.caps[f]);
    std::vector<uint8_t> active(c.paths.size(), 1);
    std::vector<double> x = s.solve();
    for (int step = 0; step < 5; ++step) {
      const uint32_t f = static_cast<uint32_t>(random() % c.paths.size());
      active[f] ^= 1;
      x = s.solve_component({&f, 1}, active);
      Case now{c.capacity, {}, {}, {}};
      std::vector<std::size_t> which;
      for (std::size_t g = 0; g < active.size(); ++g)
        if (active[g]) {
          now.paths.push_back(c.paths[g]), now.weights.push_back(c.weights[g]);
          now.caps.push_back(c.caps[g]), which.push_back(g);
        }
      const std::vector<double> whole = now.solve();
      for (std::size_t i = 0; i < which.size(); ++i)
        REQUIRE(x[which[i]] == Approx(whole[i]).epsilon(1e-12));
    }
  }
}
