#include "sim/exec/plan_timing.h"

#include <algorithm>

namespace orrery {

bool OpTiming::operator==(const OpTiming& o) const {
  return std::equal(std::begin(duration), std::end(duration), std::begin(o.duration)) &&
         held == o.held && host == o.host && read_back == o.read_back && resource == o.resource &&
         demand == o.demand;
}

PlanTiming::PlanTiming(const std::vector<OpTiming>& each) {
  for (const OpTiming& t : each) of_op_.push_back(number_of(t));
}

uint32_t PlanTiming::number_of(const OpTiming& t) {
  uint64_t hash = 0;
  for (const Picos d : t.duration)
    hash = (hash ^ static_cast<uint64_t>(d.count())) * 0x9e3779b97f4a7c15ULL;
  const auto [begin, end] = known_.equal_range(hash);
  const auto it = std::find_if(begin, end, [&](const auto& k) { return distinct_[k.second] == t; });
  if (it != end) return it->second;
  distinct_.push_back(t);
  return known_.emplace(hash, static_cast<uint32_t>(distinct_.size() - 1))->second;
}

}  // namespace orrery
