#include <algorithm>
#include <set>
#include <tuple>

#include "sim/schedule/schedule.h"
#include "tests/catch.h"

using namespace orrery;

namespace {

struct Counts {
  int forward = 0, pair = 0, backward = 0, weight = 0;  // backward: with and without its weights
  bool operator==(const Counts&) const = default;
};

Counts counts(const RankSchedule& s) {
  Counts c;
  for (const ScheduleStep& x : s.steps) {
    c.forward += x.kind == BlockKind::kForward;
    c.pair += x.kind == BlockKind::kPair;
    c.backward += x.kind == BlockKind::kBackward || x.kind == BlockKind::kBackwardInput;
    c.weight += x.kind == BlockKind::kWeight;
  }
  return c;
}

// Most micro-batches of both chunks with a forward but no input backward yet.
int dualpipe_in_flight(const RankSchedule& s) {
  int now = 0, most = 0;
  for (const ScheduleStep& x : s.steps) {
    if (x.forward_chunk >= 0) most = std::max(most, ++now);
    if (x.backward_chunk >= 0 && x.kind != BlockKind::kWeight) --now;
  }
  return most;
}

}  // namespace

TEST_CASE("DualPipe with 16 ranks and 120 micro-batches: forwards alone and pairs by half rank",
          "[schedule]") {
  // Each of the 120 micro-batches passes forward alone or in a pair, so forwards = 120 - pairs, and
  // so for backwards. The two middle ranks run their first pair as two steps.
  constexpr int kForwards[8] = {23, 22, 21, 20, 19, 18, 17, 17};
  constexpr int kPairs[8] = {97, 98, 99, 100, 101, 102, 103, 103};
  for (int rank = 0; rank < 16; ++rank) {
    const int h = std::min(rank, 15 - rank);
    const Counts c = counts(schedule_dualpipe(rank, 16, 120));
    CAPTURE(rank);
    CHECK(c.forward == kForwards[h]);
    CHECK(c.pair == kPairs[h]);
    CHECK(c.backward == kForwards[h]);
  }
}

TEST_CASE("DualPipe holds at most ranks + 1 micro-batches", "[schedule]") {
  for (int rank = 0; rank < 16; ++rank) {
    CAPTURE(rank);
    CHECK(dualpipe_in_flight(schedule_dualpipe(rank, 16, 120)) == 17);
  }
}

TEST_CASE("Mirrored DualPipe ranks do the same with their chunks exchanged", "[schedule]") {
  for (int rank = 0; rank < 8; ++rank) {
    const RankSchedule a = schedule_dualpipe(rank, 16, 120);
    const RankSchedule b = schedule_dualpipe(15 - rank, 16, 120);
    CHECK(a.stage_of_chunk[0] == b.stage_of_chunk[1]);
    REQUIRE(a.steps.size() == b.steps.size());
    const auto other = [](int chunk) { return chunk < 0 ? chunk : 1 - chunk; };
    bool mirrored = true;
    for (std::size_t i = 0; i < a.steps.size(); ++i) {
      const ScheduleStep &x = a.steps[i], &y = b.steps[i];
      mirrored = mirrored && x.kind == y.kind && x.forward_batch == y.forward_batch &&
                 x.backward_batch == y.backward_batch &&
                 x.forward_chunk == other(y.forward_chunk) &&
                 x.backward_chunk == other(y.backward_chunk);
    }
    CHECK(mirrored);
  }
}

TEST_CASE("Every size of DualPipe runs every micro-batch once, weights after their gradients",
          "[schedule]") {
  for (const int ranks : {2, 4, 6, 8, 16})
    for (const int batches : {2 * ranks, 2 * ranks + 2, 5 * ranks}) {
      CAPTURE(ranks, batches);
      for (int rank = 0; rank < ranks; ++rank) {
        const RankSchedule s = schedule_dualpipe(rank, ranks, batches);
        CHECK(s.batches_per_chunk == batches / 2);
        using Batch = std::pair<int, int>;
        std::set<Batch> forward, backward, owed, weight;
        bool ordered = true;
        for (const ScheduleStep& x : s.steps) {
          if (x.forward_chunk >= 0)
            ordered = ordered && forward.insert({x.forward_chunk, x.forward_batch}).second;
          if (x.backward_chunk < 0) continue;
          const Batch b{x.backward_chunk, x.backward_batch};
          if (x.kind == BlockKind::kWeight) {
            ordered = ordered && owed.erase(b) == 1 && weight.insert(b).second;
          } else {
            ordered = ordered && forward.count(b) == 1 && backward.insert(b).second;
            if (x.kind == BlockKind::kBackwardInput) owed.insert(b);
          }
        }
        CHECK(ordered);
        CHECK(static_cast<int>(forward.size()) == batches);
        CHECK(backward == forward);
        CHECK(owed.empty());
      }
    }
}

TEST_CASE("1F1B reaches exactly ranks - rank micro-batches in flight", "[schedule]") {
  for (int rank = 0; rank < 16; ++rank) {
    const RankSchedule s = schedule_1f1b(rank, 16, 120);
    CHECK(dualpipe_in_flight(s) == 16 - rank);
    CHECK(counts(s) == Counts{120, 0, 120, 0});
  }
  // Fewer micro-batches than ranks: no more than there are.
  CHECK(dualpipe_in_flight(schedule_1f1b(0, 16, 4)) == 4);
}

TEST_CASE("The middle ranks of DualPipe open their steady part with two separate steps",
          "[schedule]") {
  // They exchange with each other there: in a pair each would wait for the other.
  for (const int rank : {7, 8}) {
    const RankSchedule s = schedule_dualpipe(rank, 16, 120);
    CHECK(s.steps[15].kind == BlockKind::kForward);  // 8 of each direction
    CHECK(s.steps[16].kind == BlockKind::kForward);
    CHECK(s.steps[17].kind == BlockKind::kBackward);
    CHECK(s.steps[18].kind == BlockKind::kPair);
  }
}
