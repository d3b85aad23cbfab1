// Rates of flows that share links: max-min fairness by progressive filling (Bertsekas, Gallager,
// "Data Networks", 2nd ed., section 6.5.2).
//
// Flow f goes over the links of its path and has a weight w_f and a cap c_f (bytes per second; a
// sender that is no faster). The rates x are max-min fair: no rate can grow without one that is no
// larger, per weight, getting smaller. Filling raises x_f / w_f of all flows together; when a link
// is full, or a flow at its cap, its flows keep their rate. The result is unique and fulfils, for
// every flow, the condition that the tests check (KKT): it is at its cap, or one of its links is
// full and none of the flows there has more per weight.
//
// Rates do not depend on the order of flows or links, bit for bit: weights are integers, each round
// first finds its level from untouched sums, then subtracts from a link, once, the integer weight
// of all flows that freeze on it. So flows that are symmetric get equal rates.
//
// Only links that can fill are looked at: a round costs the links still open. O(rounds · links +
// total length of paths), rounds at most the number of links and of distinct caps.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace orrery {

class FlowSolver {
 public:
  static constexpr double kUncapped = std::numeric_limits<double>::infinity();

  // Capacities in bytes per second, all positive.
  explicit FlowSolver(std::vector<double> capacity);

  // Adds a flow over `path` (links, each at most once) and returns its number. An empty path needs
  // a finite cap.
  uint32_t add(std::span<const uint32_t> path, uint32_t weight = 1, double cap = kUncapped);
  void clear_flows();
  std::size_t flows() const { return weight_.size(); }
  std::size_t links() const { return capacity_.size(); }

  // Max-min fair rates of all flows, by number. The vector is the solver's own until the next call.
  const std::vector<double>& solve();

  // Solves again only for the flows that are connected, through links shared by flows, to one of
  // `changed`; the others keep their rates. `active[f]`: whether f sends at all.
  const std::vector<double>& solve_component(std::span<const uint32_t> changed,
                                             const std::vector<uint8_t>& active);
  // The active flows whose rates the last solve_component set, in order.
  const std::vector<uint32_t>& component() const { return component_; }

 private:
  void collect(std::span<const uint32_t> changed, const std::vector<uint8_t>& active);
  void index_flows();
  void fill();

  std::span<const uint32_t> path(uint32_t f) const {
    return {path_.data() + begin_[f], path_.data() + begin_[f + 1]};
  }

  std::vector<double> capacity_;
  std::vector<uint32_t> path_, begin_{0}, weight_;
  std::vector<double> cap_, rate_;
  // Flows of each link, built when needed.
  bool indexed_ = false;
  std::vector<uint32_t> on_link_, on_link_begin_;
  // Of the component being solved.
  std::vector<uint32_t> open_links_, part_, component_;
  std::vector<uint64_t> open_weight_;
  std::vector<double> left_;
  std::vector<uint8_t> in_part_, seen_link_, frozen_;
};

}  // namespace orrery
