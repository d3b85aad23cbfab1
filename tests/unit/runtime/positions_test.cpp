// Which positions of a sequence a context-parallel rank has.
#include "runtime/model/step.h"
#include "tests/catch.h"

namespace orrery {
namespace {

struct PositionsRun {
  int64_t first, position, count;
  bool operator==(const PositionsRun&) const = default;
};

std::vector<PositionsRun> runs(ContextParallelKind kind, int64_t ranks, int64_t rank) {
  PlanSpec p;
  p.sequence_length = 24;
  p.context_parallel = ranks;
  p.context_parallel_kind = kind;
  std::vector<PositionsRun> all;
  for (const PositionRun& r : position_runs(p, rank)) all.push_back({r.first, r.position, r.count});
  return all;
}

TEST_CASE("positions: parts of a sequence are runs of consecutive positions", "[runtime]") {
  const auto ring = ContextParallelKind::kRing, all_to_all = ContextParallelKind::kAllToAll;
  CHECK(runs(ring, 1, 0) == std::vector<PositionsRun>{{0, 0, 24}});
  // Six chunks of 4: rank r of 3 has those number r and 5 - r, the last one two that follow each
  // other.
  CHECK(runs(ring, 3, 0) == std::vector<PositionsRun>{{0, 0, 4}, {4, 20, 4}});
  CHECK(runs(ring, 3, 1) == std::vector<PositionsRun>{{0, 4, 4}, {4, 16, 4}});
  CHECK(runs(ring, 3, 2) == std::vector<PositionsRun>{{0, 8, 8}});
  CHECK(runs(all_to_all, 3, 2) == std::vector<PositionsRun>{{0, 16, 8}});
}

}  // namespace
}  // namespace orrery
