// Simulated steps against the published bubbles, where these hold: equal stages, free transfers.
#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "sim/schedule/schedule.h"
#include "tests/catch.h"
#include "tests/unit/schedule/uniform.h"

using namespace orrery;

namespace {

// Idle microseconds of a rank in a step. Every rank has `chunks` chunks of each micro-batch, or in
// DualPipe half of the micro-batches of two.
double bubble(const std::string& schedule, int ranks, int chunks, int batches, StageTimes t) {
  const double work = static_cast<double>(chunks * batches * (t.forward + t.backward + t.weight));
  return uniform_step(uniform_pipeline(schedule, ranks, chunks, batches), t) - work;
}

// Microseconds until all ranks have run their steps in order, each as soon as its inputs are there.
int64_t length(const std::vector<RankSchedule>& ranks, StageTimes t) {
  std::map<std::tuple<Role, int, int>, int64_t> done;  // of pass, stage, micro-batch
  std::vector<std::size_t> at(ranks.size(), 0);
  std::vector<int64_t> now(ranks.size(), 0);
  int last = 0;
  for (const RankSchedule& r : ranks)
    last = std::max(last, *std::max_element(r.stage_of_chunk.begin(), r.stage_of_chunk.end()));
  for (bool moved = true; std::exchange(moved, false);)
    for (std::size_t r = 0; r < ranks.size(); ++r)
      for (; at[r] < ranks[r].steps.size(); ++at[r], moved = true) {
        const ScheduleStep& s = ranks[r].steps[at[r]];
        const bool forward = s.kind == BlockKind::kForward;
        const int chunk = forward ? s.forward_chunk : s.backward_chunk;
        const int batch = forward ? s.forward_batch : s.backward_batch;
        const int stage = ranks[r].stage_of_chunk[static_cast<std::size_t>(chunk)];
        if (s.kind != BlockKind::kWeight && stage != (forward ? 0 : last)) {
          const auto from = done.find(
              {forward ? Role::kForward : Role::kBackward, forward ? stage - 1 : stage + 1, batch});
          if (from == done.end()) break;
          now[r] = std::max(now[r], from->second);
        }
        if (forward) now[r] += t.forward;
        if (s.kind == BlockKind::kBackward || s.kind == BlockKind::kBackwardInput)
          now[r] += t.backward;
        if (s.kind == BlockKind::kBackward || s.kind == BlockKind::kWeight) now[r] += t.weight;
        if (s.kind != BlockKind::kWeight)
          done[{forward ? Role::kForward : Role::kBackward, stage, batch}] = now[r];
      }
  return *std::max_element(now.begin(), now.end());
}

constexpr double kMargin = 0.1;  // of the picoseconds that everything else takes

}  // namespace

TEST_CASE("GPipe and 1F1B idle for (p-1)(F+B+W)", "[schedule]") {
  const StageTimes t{100, 130, 70};
  for (const char* schedule : {"gpipe", "1f1b"})
    for (const int p : {2, 4, 7})
      for (const int m : {p, 3 * p + 1}) {
        CAPTURE(schedule, p, m);
        CHECK(bubble(schedule, p, 1, m, t) == Approx((p - 1) * 300).margin(kMargin));
      }
  // Fewer micro-batches than ranks: the same idle time.
  CHECK(bubble("1f1b", 4, 1, 2, t) == Approx(3 * 300).margin(kMargin));
}

TEST_CASE("Interleaved 1F1B divides the bubble by the chunks per rank", "[schedule]") {
  // Of a rank's F = v x 100 and so on: (p-1)(F+B+W)/v = (p-1) x 300.
  const StageTimes t{100, 130, 70};
  for (const int p : {2, 4})
    for (const int v : {2, 3, 5})
      for (const int m : {p, 4 * p}) {
        CAPTURE(p, v, m);
        CHECK(bubble("interleaved_1f1b", p, v, m, t) == Approx((p - 1) * 300).margin(kMargin));
      }
}

TEST_CASE("ZB-H1 idles for (p-1)(F+B-W)", "[schedule]") {
  for (const StageTimes t : {StageTimes{100, 100, 100}, StageTimes{100, 120, 80}})
    for (const int p : {2, 4, 7})
      for (const int m : {p, 2 * p, 5 * p + 1}) {
        CAPTURE(p, m, t.backward);
        CHECK(bubble("zb_h1", p, 1, m, t) ==
              Approx((p - 1) * (t.forward + t.backward - t.weight)).margin(kMargin));
      }
}

TEST_CASE("ZB-V idles for p-1 forwards of one chunk where F = B = W", "[schedule]") {
  // The last rank cannot start before, so nothing is shorter.
  for (const int p : {2, 3, 4, 5, 8, 16})
    for (const int m : {2 * p, 2 * p + 1, 5 * p}) {
      CAPTURE(p, m);
      CHECK(length(schedule_zb_v(p, m, {100, 100, 100}), {100, 100, 100}) ==
            600 * m + 100 * (p - 1));
    }
}

TEST_CASE("The simulator runs a schedule's order as fast as its steps allow", "[schedule]") {
  const StageTimes t{100, 130, 70};
  const std::vector<RankSchedule> v = schedule_zb_v(4, 12, {100, 130, 70});
  std::vector<RankSchedule> h1;
  for (int r = 0; r < 4; ++r) h1.push_back(schedule_zb_h1(r, 4, 12));
  CHECK(uniform_step(uniform_pipeline("zb_h1", 4, 1, 12), t) ==
        Approx(static_cast<double>(length(h1, t))).margin(kMargin));
  // Planned with the FLOPs of the stages there and with their times here.
  CHECK(uniform_step(uniform_pipeline("zb_v", 4, 2, 12), t) <
        1.05 * static_cast<double>(length(v, t)));
}

TEST_CASE("DualPipe and DualPipeV idle for (p/2-1)(F&B + B - 3W)", "[schedule]") {
  // B is the whole backward; a pair takes as long as both here. Exact where F = B - W = W, not more
  // elsewhere.
  const StageTimes equal{100, 100, 100, true}, unequal{100, 130, 70, true};
  const std::vector<std::string> pairs = {"/plan/overlap_expert_parallel=true"};
  for (const int half : {2, 4, 5})
    for (const int m : {2 * half, 4 * half, 5 * half + 1}) {
      CAPTURE(half, m);
      // m micro-batches in each direction, or m through the V.
      for (const StudySpec& s : {uniform_pipeline("dualpipe", 2 * half, 1, 2 * m, pairs),
                                 uniform_pipeline("dualpipe_v", half, 2, m, pairs)}) {
        const double work = 2 * m * 300;
        CHECK(uniform_step(s, equal) - work ==
              Approx((half - 1) * (300 + 200 - 3 * 100)).margin(kMargin));
        CHECK(uniform_step(s, unequal) - work < (half - 1) * (300 + 200 - 3 * 70));
      }
    }
}
