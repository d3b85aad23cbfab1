#include "sim/exec/sim_regions.h"

#include <algorithm>

namespace orrery {
namespace {

constexpr int32_t kMaxSlots = 64;     // of one period
constexpr uint32_t kMaxPeriod = 512;  // calls

// Whether `b` does what `a` does, `slots` micro-batches later. Equal blocks have equal chunks.
bool follows(const Call& a, const Call& b, int32_t slots) {
  const auto later = [slots](int32_t x, int32_t y) { return x < 0 ? y < 0 : y == x + slots; };
  return a.block == b.block && (a.forward_slot >= 0 || a.backward_slot >= 0) &&
         later(a.forward_slot, b.forward_slot) && later(a.backward_slot, b.backward_slot);
}

std::vector<CallRegion> regions_of(const std::vector<Call>& calls, int32_t slots) {
  std::vector<CallRegion> out;
  const auto n = static_cast<uint32_t>(calls.size());
  for (uint32_t i = 0; i < n;) {
    uint32_t next = i + 1;
    const uint32_t limit = std::min(n, i + kMaxPeriod);
    while (next < limit && !follows(calls[i], calls[next], slots)) ++next;
    const uint32_t period = next - i;
    uint32_t end = next;
    while (end < n && next < limit && follows(calls[end - period], calls[end], slots)) ++end;
    if (next < limit && end - i >= kMinPeriods * period) {
      out.push_back({i, end, period});
      i = end;
    } else {
      ++i;
    }
  }
  return out;
}

}  // namespace

const CallRegion* CallRegions::find(std::size_t rank_class, uint32_t first, uint32_t last) const {
  for (const CallRegion& r : of_class[rank_class])
    if (first >= r.begin && last < r.end) return &r;
  return nullptr;
}

CallRegions find_regions(const ExecPlan& plan) {
  int32_t batches = kMaxSlots;
  for (const RankClass& c : plan.classes) batches = std::min(batches, c.slots_per_chunk);
  CallRegions out;
  for (int32_t slots = 1; slots * static_cast<int32_t>(kMinPeriods) <= batches; ++slots) {
    out.of_class.clear();
    for (const RankClass& c : plan.classes) {
      out.of_class.push_back(regions_of(c.calls, slots));
      if (out.of_class.back().empty()) break;
    }
    if (out.of_class.size() == plan.classes.size() && !out.of_class.back().empty()) {
      out.slots = slots;
      return out;
    }
  }
  out.of_class.assign(plan.classes.size(), {});
  return out;
}

}  // namespace orrery
