#include "sim/net/flow_solver.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

namespace orrery {

FlowSolver::FlowSolver(std::vector<double> capacity) : capacity_(std::move(capacity)) {
  open_weight_.resize(capacity_.size());
  left_.resize(capacity_.size());
  seen_link_.resize(capacity_.size());
}

uint32_t FlowSolver::add(std::span<const uint32_t> path, uint32_t weight, double cap) {
  assert(weight > 0 && (!path.empty() || cap < kUncapped));
  path_.insert(path_.end(), path.begin(), path.end());
  begin_.push_back(static_cast<uint32_t>(path_.size()));
  weight_.push_back(weight);
  cap_.push_back(cap);
  rate_.push_back(0);
  indexed_ = false;
  return static_cast<uint32_t>(weight_.size() - 1);
}

void FlowSolver::clear_flows() {
  path_.clear();
  begin_.assign(1, 0);
  weight_.clear();
  cap_.clear();
  rate_.clear();
  indexed_ = false;
}

void FlowSolver::index_flows() {
  if (indexed_) return;
  on_link_begin_.assign(capacity_.size() + 1, 0);
  for (uint32_t l : path_) ++on_link_begin_[l + 1];
  std::partial_sum(on_link_begin_.begin(), on_link_begin_.end(), on_link_begin_.begin());
  on_link_.resize(path_.size());
  std::vector<uint32_t> next(on_link_begin_.begin(), on_link_begin_.end() - 1);
  for (uint32_t f = 0; f < weight_.size(); ++f)
    for (uint32_t l : path(f)) on_link_[next[l]++] = f;
  in_part_.assign(weight_.size(), 0);
  frozen_.assign(weight_.size(), 0);
  indexed_ = true;
}

const std::vector<double>& FlowSolver::solve() {
  index_flows();
  part_.resize(weight_.size());
  std::iota(part_.begin(), part_.end(), 0u);
  open_links_.clear();
  for (uint32_t l = 0; l < capacity_.size(); ++l)
    if (on_link_begin_[l] != on_link_begin_[l + 1]) open_links_.push_back(l);
  for (uint32_t l : open_links_) open_weight_[l] = 0;
  for (uint32_t f : part_)
    for (uint32_t l : path(f)) open_weight_[l] += weight_[f];
  fill();
  return rate_;
}

// The flows connected to `changed`, into part_ in order of their numbers, and their links.
void FlowSolver::collect(std::span<const uint32_t> changed, const std::vector<uint8_t>& active) {
  part_.clear();
  open_links_.clear();
  const auto visit = [&](uint32_t f) {
    if (in_part_[f]) return;
    in_part_[f] = 1;
    part_.push_back(f);
  };
  for (uint32_t f : changed) visit(f);
  for (std::size_t i = 0; i < part_.size(); ++i)
    for (uint32_t l : path(part_[i])) {
      if (seen_link_[l]) continue;
      seen_link_[l] = 1;
      open_links_.push_back(l);
      for (uint32_t k = on_link_begin_[l]; k < on_link_begin_[l + 1]; ++k)
        if (active[on_link_[k]]) visit(on_link_[k]);
    }
  for (uint32_t f : part_) in_part_[f] = 0;
  for (uint32_t l : open_links_) seen_link_[l] = 0;
  std::sort(open_links_.begin(), open_links_.end());
}

const std::vector<double>& FlowSolver::solve_component(std::span<const uint32_t> changed,
                                                       const std::vector<uint8_t>& active) {
  index_flows();
  collect(changed, active);
  for (uint32_t l : open_links_) open_weight_[l] = 0;
  std::erase_if(part_, [&](uint32_t f) {
    if (!active[f]) rate_[f] = 0;
    return !active[f];
  });
  std::sort(part_.begin(), part_.end());
  component_ = part_;
  for (uint32_t f : part_)
    for (uint32_t l : path(f)) open_weight_[l] += weight_[f];
  std::erase_if(open_links_, [&](uint32_t l) { return open_weight_[l] == 0; });
  fill();
  return rate_;
}

// Progressive filling of part_ over open_links_, whose open_weight_ is set.
void FlowSolver::fill() {
  for (uint32_t l : open_links_) left_[l] = capacity_[l];
  for (uint32_t f : part_) frozen_[f] = 0;
  double level = 0;  // rate per weight of all open flows
  std::vector<uint32_t> full;
  while (!part_.empty()) {
    double step = kUncapped;
    for (uint32_t l : open_links_)
      step = std::min(step, left_[l] / static_cast<double>(open_weight_[l]));
    double next_cap = kUncapped;
    for (uint32_t f : part_) next_cap = std::min(next_cap, cap_[f] / weight_[f]);
    const bool at_cap = next_cap - level <= step;
    if (at_cap) step = std::max(0.0, next_cap - level);
    full.clear();
    for (uint32_t l : open_links_)
      if (left_[l] / static_cast<double>(open_weight_[l]) <= step) full.push_back(l);
    level = at_cap ? next_cap : level + step;
    for (uint32_t l : full)
      for (uint32_t k = on_link_begin_[l]; k < on_link_begin_[l + 1]; ++k)
        frozen_[on_link_[k]] |= 2;
    // What a link loses in this round: `step` times the weight open on it before the round.
    for (uint32_t l : open_links_)
      left_[l] = std::max(0.0, left_[l] - step * static_cast<double>(open_weight_[l]));
    std::erase_if(part_, [&](uint32_t f) {
      const bool capped = cap_[f] / weight_[f] <= level;
      if (!capped && (frozen_[f] & 2) == 0) return false;
      rate_[f] = capped ? cap_[f] : level * weight_[f];
      for (uint32_t l : path(f)) open_weight_[l] -= weight_[f];
      return true;
    });
    std::erase_if(open_links_, [&](uint32_t l) { return open_weight_[l] == 0; });
  }
}

}  // namespace orrery
