#include "sim/schedule/schedule.h"

#include <algorithm>
#include <map>

#include "tests/catch.h"

using namespace orrery;

namespace {

int count(const RankSchedule& s, BlockKind k) {
  return static_cast<int>(
      std::count_if(s.steps.begin(), s.steps.end(), [k](const auto& x) { return x.kind == k; }));
}

// Each micro-batch of each chunk: forward once, then backward once, then (if split) weights once.
void check_order(const RankSchedule& s, int most_in_flight) {
  std::map<std::pair<int, int>, int> state;  // 1 after forward, 2 input backward, 3 done
  int in_flight = 0, most = 0;
  for (const ScheduleStep& x : s.steps) {
    if (x.forward_chunk >= 0) {
      CHECK(++state[{x.forward_chunk, x.forward_batch}] == 1);
      most = std::max(most, ++in_flight);
    }
    if (x.backward_chunk < 0) continue;
    int& b = state[{x.backward_chunk, x.backward_batch}];
    CHECK(b == (x.kind == BlockKind::kWeight ? 2 : 1));
    b = x.kind == BlockKind::kBackwardInput ? 2 : 3;
    if (x.kind != BlockKind::kWeight) --in_flight;
  }
  CHECK(static_cast<int>(state.size()) ==
        s.batches_per_chunk * static_cast<int>(s.stage_of_chunk.size()));
  for (const auto& [batch, at] : state) CHECK(at == 3);
  CHECK(most <= most_in_flight);
}

}  // namespace

TEST_CASE("DualPipe with 16 ranks and 120 micro-batches", "[schedule]") {
  for (int rank = 0; rank < 16; ++rank) {
    const RankSchedule s = schedule_dualpipe(rank, 16, 120);
    const int h = std::min(rank, 15 - rank);
    CAPTURE(rank);
    CHECK(s.stage_of_chunk == std::vector<int>{rank, 15 - rank});
    // Forwards alone 2(7-h) + 2(h+1) + (7-h) = 23 - h; the others are in pairs. The middle ranks
    // split their first pair.
    const int split = h == 7 ? 1 : 0;
    CHECK(count(s, BlockKind::kForward) == 23 - h + split);
    CHECK(count(s, BlockKind::kPair) == 97 + h - split);
    // Backwards that leave their weights: (7-h) early, then half of the drain.
    CHECK(count(s, BlockKind::kWeight) == count(s, BlockKind::kBackwardInput));
    check_order(s, 17);  // PP + 1 micro-batches of activations
  }
}

TEST_CASE("1F1B keeps ranks - rank micro-batches in flight", "[schedule]") {
  for (int rank = 0; rank < 8; ++rank) check_order(schedule_1f1b(rank, 8, 32), 8 - rank);
}
