#include "sim/exec/sim_ports.h"

#include <algorithm>
#include <cmath>

#include "sim/base/casts.h"
#include "sim/base/error.h"
#include "sim/exec/sim_timing.h"

namespace orrery {
namespace {

double largest(const PortDemand& d) { return *std::max_element(d.port.begin(), d.port.end()); }

// Speeds (1: full) of kinds with `counts` ops each, whose speed is at most `cap`.
std::vector<double> fair_speeds(const std::vector<PortDemand>& kinds,
                                const std::vector<uint8_t>& counts,
                                const std::vector<double>& cap) {
  std::vector<double> speed(counts.size(), 0);
  std::vector<uint8_t> open(counts.size(), 0);
  for (std::size_t k = 0; k < counts.size(); ++k) {
    open[k] = counts[k] > 0 && largest(kinds[k]) > 0;
    if (!open[k]) speed[k] = cap[k];
  }
  double level = 0;  // share that each open op has of its most used port
  while (std::count(open.begin(), open.end(), 1) > 0) {
    // How far the level can rise before a port is full or an op has its speed.
    double next = 1e300;
    std::array<double, kPorts> left, slope;
    for (std::size_t p = 0; p < kPorts; ++p) {
      double used = 0, rising = 0;
      for (std::size_t k = 0; k < counts.size(); ++k) {
        const double load = counts[k] * kinds[k].port[p];
        if (open[k])
          rising += load / largest(kinds[k]);
        else
          used += load * speed[k];
      }
      left[p] = std::max(0.0, 1 - used);
      slope[p] = rising;
      if (rising > 0) next = std::min(next, left[p] / rising);
    }
    for (std::size_t k = 0; k < counts.size(); ++k)
      if (open[k]) next = std::min(next, cap[k] * largest(kinds[k]));
    level = std::max(level, next);
    for (std::size_t k = 0; k < counts.size(); ++k) {
      if (!open[k]) continue;
      bool done = level >= cap[k] * largest(kinds[k]);
      for (std::size_t p = 0; p < kPorts; ++p)
        done = done || (kinds[k].port[p] > 0 && left[p] / slope[p] <= level);
      if (!done) continue;
      speed[k] = std::min(cap[k], level / largest(kinds[k]));
      open[k] = 0;
    }
  }
  return speed;
}

}  // namespace

uint8_t PortStates::kind(const PortDemand& d) {
  const auto it = std::find(kinds_.begin(), kinds_.end(), d);
  if (it != kinds_.end()) return static_cast<uint8_t>(it - kinds_.begin());
  if (kinds_.size() < kMostKinds) {
    kinds_.push_back(d);
    return static_cast<uint8_t>(kinds_.size() - 1);
  }
  return nearest(d);
}

// The kind of the same sort whose demand is most alike, ports added up.
uint8_t PortStates::nearest(const PortDemand& d) const {
  std::size_t best = 0;
  double least = 1e300;
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    if (kinds_[k].resource != d.resource || kinds_[k].holder != d.holder) continue;
    double apart = std::abs(kinds_[k].beside_compute - d.beside_compute);
    for (std::size_t p = 0; p < kPorts; ++p) apart += std::abs(kinds_[k].port[p] - d.port[p]);
    if (apart < least) least = apart, best = k;
  }
  return static_cast<uint8_t>(best);
}

PortStates::State PortStates::learn(State s, uint8_t kind, int direction) {
  Counts counts = states_[s].counts;
  if (counts.size() <= kind) counts.resize(at(kind) + 1, 0);
  counts[kind] = static_cast<uint8_t>(counts[kind] + (direction == 0 ? 1 : -1));
  while (!counts.empty() && counts.back() == 0) counts.pop_back();
  const State to = intern(std::move(counts));
  std::vector<State>& next = states_[s].next[at(direction)];
  if (next.size() <= kind) next.resize(at(kind) + 1, kUnseen);
  return next[kind] = to;
}

PortStates::State PortStates::intern(Counts counts) {
  const auto [it, fresh] = numbers_.try_emplace(counts, static_cast<State>(states_.size()));
  if (!fresh) return it->second;
  if (states_.size() == kUnseen)
    throw Error(ExitCode::kInternal, "more than 65534 sets of ops in flight on one GPU");
  states_.push_back(solve(std::move(counts)));
  return it->second;
}

PortStates::Solved PortStates::solve(Counts counts) const {
  Solved s;
  int compute = 0;
  for (std::size_t k = 0; k < counts.size(); ++k) {
    if (counts[k] == 0) continue;
    if (kinds_[k].resource == Resource::kCompute) compute += counts[k];
    if (kinds_[k].resource == Resource::kAllToAll) s.beside |= kBesideOther;
    if (kinds_[k].holder == SmHolder::kCollective) s.beside |= kBesideCollective;
    if (kinds_[k].holder == SmHolder::kP2p) s.beside |= kBesideP2p;
  }
  if (compute > 1) s.beside |= kBesideSame;
  std::vector<double> cap(counts.size(), 1);
  for (std::size_t k = 0; k < counts.size(); ++k)
    if (compute > 0) cap[k] = kinds_[k].beside_compute;
  for (double speed : fair_speeds(kinds_, counts, cap)) s.slowdown.push_back(1 / speed);
  s.counts = std::move(counts);
  return s;
}

}  // namespace orrery
