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

// Most (chunk, micro-batch) with a forward whose weight gradients are still owed.
int most_held(const RankSchedule& s) {
  int now = 0, most = 0;
  for (const ScheduleStep& x : s.steps) {
    if (x.forward_chunk >= 0) most = std::max(most, ++now);
    if (x.backward_chunk >= 0 && x.kind != BlockKind::kBackwardInput) --now;
  }
  return most;
}

int most_in_flight(const RankSchedule& s) {
  int now = 0, most = 0;
  for (const ScheduleStep& x : s.steps) {
    if (x.forward_chunk >= 0) most = std::max(most, ++now);
    if (x.backward_chunk >= 0 && x.kind != BlockKind::kWeight) --now;
  }
  return most;
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

TEST_CASE("Every schedule of every size runs each micro-batch once, in order", "[schedule]") {
  for (const int p : {2, 3, 4, 8})
    for (const int m : {1, p, 2 * p, 3 * p}) {
      CAPTURE(p, m);
      const std::vector<RankSchedule> zb_v = schedule_zb_v(p, m, {100, 130, 70});
      for (int r = 0; r < p; ++r) {
        check_order(schedule_gpipe(r, p, m), m);
        for (const bool pairs : {false, true}) {
          check_order(schedule_1f1b(r, p, m, pairs), pairs ? 2 * (p - r) : p - r);
          for (const int v : {2, 3})
            check_order(schedule_interleaved(r, p, v, m, pairs),
                        2 * (p - 1 - r) + (v - 1) * p + (pairs ? 2 : 1));
        }
        check_order(schedule_zb_h1(r, p, m), p - r);
        check_order(zb_v[static_cast<std::size_t>(r)], 2 * p);
        if (m >= 2 * p) check_order(schedule_dualpipe_v(r, p, m), 2 * p + 1);
      }
    }
}

TEST_CASE("Memory of each schedule is as published", "[schedule]") {
  for (const int p : {2, 4, 8}) {
    const int m = 4 * p;
    const std::vector<RankSchedule> zb_v = schedule_zb_v(p, m, {100, 100, 100});
    for (int r = 0; r < p; ++r) {
      CAPTURE(p, r);
      CHECK(most_held(schedule_gpipe(r, p, m)) == m);
      CHECK(most_held(schedule_1f1b(r, p, m)) == p - r);
      // The weight gradients that wait keep as many micro-batches as are not in flight.
      CHECK(most_held(schedule_zb_h1(r, p, m)) == p);
      // 2p chunks, each of half a rank's layers.
      CHECK(most_held(zb_v[static_cast<std::size_t>(r)]) == 2 * p);
      // DualPipeV: 2p + 1 of the 2p stages' micro-batches in flight.
      CHECK(most_in_flight(schedule_dualpipe_v(r, p, m)) == 2 * p + 1);
      for (const int v : {2, 4})
        CHECK(most_held(schedule_interleaved(r, p, v, m)) == 2 * (p - 1 - r) + (v - 1) * p + 1);
    }
    // p (1 + (p-1)/(p v)) micro-batches of v chunks, arXiv 2104.04473, section 2.2.
    CHECK(most_held(schedule_interleaved(0, p, 2, m)) == 2 * p + p - 1);
  }
}

TEST_CASE("Forward and backward of a pair never need each other", "[schedule]") {
  for (int r = 0; r < 4; ++r)
    for (const RankSchedule& s :
         {schedule_1f1b(r, 4, 16, true), schedule_interleaved(r, 4, 2, 16, true)})
      for (const ScheduleStep& x : s.steps)
        if (x.kind == BlockKind::kPair)
          CHECK((x.forward_chunk != x.backward_chunk || x.forward_batch != x.backward_batch));
}

TEST_CASE("1F1B keeps ranks - rank micro-batches in flight", "[schedule]") {
  for (int rank = 0; rank < 8; ++rank) check_order(schedule_1f1b(rank, 8, 32), 8 - rank);
}
