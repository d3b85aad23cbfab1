#include <random>

#include "sim/exec/sim_ports.h"
#include "sim/exec/sim_timing.h"
#include "tests/catch.h"

using namespace orrery;

namespace {

PortDemand demand(Resource r, double nic, double gpu = 0) {
  PortDemand d;
  d.resource = r;
  for (Port p : {Port::kNicOut, Port::kNicIn}) d.port[static_cast<std::size_t>(p)] = nic;
  for (Port p : {Port::kGpuOut, Port::kGpuIn}) d.port[static_cast<std::size_t>(p)] = gpu;
  return d;
}

PortDemand one_way(Port p) {
  PortDemand d;
  d.resource = Resource::kNetwork;
  d.port[static_cast<std::size_t>(p)] = 1;
  return d;
}

}  // namespace

TEST_CASE("Alone an op has its full speed", "[exec]") {
  PortStates s;
  const uint8_t k = s.kind(demand(Resource::kNetwork, 1, 0.5));
  const PortStates::State one = s.with(PortStates::kIdle, k);
  CHECK(s.slowdown(one, k) == 1);
  CHECK(s.without(one, k) == PortStates::kIdle);
}

TEST_CASE("Two on a port take half each, a light one no more than it asks for", "[exec]") {
  PortStates s;
  const uint8_t heavy = s.kind(demand(Resource::kNetwork, 1));
  const uint8_t light = s.kind(demand(Resource::kNetwork, 0.25));
  const PortStates::State two = s.with(s.with(PortStates::kIdle, heavy), heavy);
  CHECK(s.slowdown(two, heavy) == 2);
  // 1/4 for the light one, 3/4 for the heavy one.
  const PortStates::State both = s.with(s.with(PortStates::kIdle, heavy), light);
  CHECK(s.slowdown(both, light) == 1);
  CHECK(s.slowdown(both, heavy) == Approx(4.0 / 3));
}

TEST_CASE("Sends and receives pass each other", "[exec]") {
  PortStates s;
  const uint8_t send = s.kind(one_way(Port::kNicOut)), recv = s.kind(one_way(Port::kNicIn));
  const PortStates::State both = s.with(s.with(PortStates::kIdle, send), recv);
  CHECK(s.slowdown(both, send) == 1);
  CHECK(s.slowdown(both, recv) == 1);
  CHECK(s.slowdown(s.with(both, send), send) == 2);
  CHECK(s.slowdown(s.with(both, send), recv) == 1);
}

TEST_CASE("An all-to-all on the network and a reduction in the node share neither", "[exec]") {
  PortStates s;
  const uint8_t far = s.kind(demand(Resource::kAllToAll, 0.9, 0.3));
  const uint8_t near = s.kind(demand(Resource::kNetwork, 0, 0.7));
  const PortStates::State both = s.with(s.with(PortStates::kIdle, far), near);
  CHECK(s.slowdown(both, far) == 1);
  CHECK(s.slowdown(both, near) == 1);
  // With NVLink the common port, both rise to the same share of what they use most. The far one
  // takes a third of that share there: share + share / 3 = 1.
  const uint8_t full = s.kind(demand(Resource::kNetwork, 0, 1));
  const PortStates::State tight = s.with(s.with(PortStates::kIdle, far), full);
  CHECK(s.slowdown(tight, full) == Approx(4.0 / 3));
  CHECK(s.slowdown(tight, far) == Approx(0.9 / 0.75));
}

TEST_CASE("Compute lowers the speed of all-to-alls, which leave it fewer SMs", "[exec]") {
  PortStates s;
  PortDemand d = demand(Resource::kAllToAll, 1);
  d.beside_compute = 0.5;
  PortDemand reduce = demand(Resource::kNetwork, 1);
  reduce.holder = SmHolder::kCollective;
  const uint8_t tokens = s.kind(d), compute = s.kind({}), gradients = s.kind(reduce);
  const PortStates::State both = s.with(s.with(PortStates::kIdle, tokens), compute);
  CHECK(s.slowdown(both, tokens) == 2);
  CHECK(s.beside_compute(both) == kBesideOther);
  // The half that the all-to-all leaves is free for gradients.
  const PortStates::State three = s.with(both, gradients);
  CHECK(s.slowdown(three, tokens) == 2);
  CHECK(s.slowdown(three, gradients) == 2);
  CHECK(s.beside_compute(three) == (kBesideOther | kBesideCollective));
  CHECK(s.beside_compute(s.with(three, compute)) ==
        (kBesideOther | kBesideCollective | kBesideSame));
}

TEST_CASE("No port carries more than it can, and each slowed op has a full one", "[exec]") {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    PortStates s;
    std::vector<PortDemand> demands;
    std::vector<uint8_t> kinds;
    PortStates::State state = PortStates::kIdle;
    for (int i = 0; i < 4; ++i) {
      PortDemand d;
      d.resource = Resource::kNetwork;
      for (double& p : d.port) p = static_cast<double>(random() % 5) / 4;
      demands.push_back(d);
      kinds.push_back(s.kind(d));
      state = s.with(state, kinds.back());
    }
    std::array<double, kPorts> used{};
    for (std::size_t i = 0; i < demands.size(); ++i)
      for (std::size_t p = 0; p < kPorts; ++p)
        used[p] += demands[i].port[p] / s.slowdown(state, kinds[i]);
    CAPTURE(round);
    for (double u : used) REQUIRE(u <= 1 + 1e-9);
    for (std::size_t i = 0; i < demands.size(); ++i) {
      bool full = s.slowdown(state, kinds[i]) == 1;
      for (std::size_t p = 0; p < kPorts; ++p)
        full = full || (demands[i].port[p] > 0 && used[p] >= 1 - 1e-9);
      REQUIRE(full);
    }
  }
}

TEST_CASE("Kinds beyond the most count as the one most like them", "[exec]") {
  PortStates s;
  for (int i = 0; i < 1000; ++i) s.kind(demand(Resource::kNetwork, 0.5, i / 1000.0));
  CHECK(s.kind(demand(Resource::kNetwork, 0.5, 0.9)) == PortStates::kMostKinds - 1);
  CHECK(s.kind(demand(Resource::kNetwork, 0.5, 0.0004)) == 0);
}
