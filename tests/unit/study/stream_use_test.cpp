#include "sim/study/stream_use.h"

#include "tests/catch.h"

namespace orrery {
namespace {

constexpr uint32_t kComputing = 0, kCommunicating = 1;

// Streams "a" and "b" of track "x", "c" of track "y".
Timeline timeline(std::vector<TimelineOp> ops) {
  Timeline t;
  t.streams = {{"a", "x"}, {"b", "x"}, {"c", "y"}};
  t.operators = {{"compute", "k", "compute", false, -1, {}},
                 {"communicate", "k", "communicate", true, -1, {}}};
  t.ranks.push_back({0, 0, std::move(ops)});
  return t;
}

TimelineOp op(double start, double end, uint32_t oper, uint32_t stream) {
  return {start, end, oper, stream};
}

TEST_CASE("stream use: busy, idle and the longest gap of a track", "[study]") {
  // Track x: 0-10 and 5-12 overlap, then nothing until 20-21 and, after it, 24-30.
  // Busy: 12 + 1 + 6 = 19; idle: 8 + 3 = 11.
  const Timeline t = timeline({op(0, 10, kComputing, 0), op(5, 12, kComputing, 1),
                               op(20, 21, kComputing, 0), op(24, 30, kComputing, 1)});
  const std::vector<TrackUse> use = track_use(t, t.ranks[0]);
  REQUIRE(use.size() == 1);  // track y ran nothing
  CHECK(use[0].track == "x");
  CHECK(use[0].ops == 4);
  CHECK(use[0].busy_us == 19);
  CHECK(use[0].idle_us == 11);
  REQUIRE(use[0].gaps.size() == 2);
  REQUIRE(use[0].longest() != nullptr);
  CHECK(use[0].longest()->us() == 8);
  CHECK(use[0].longest()->before->end_us == 12);
  CHECK(use[0].longest()->after->start_us == 20);
}

TEST_CASE("stream use: an op inside another one ends no gap", "[study]") {
  // 2-3 lies in 0-10; the gap is 10 to 15, after the longer one.
  const Timeline t =
      timeline({op(0, 10, kComputing, 0), op(2, 3, kComputing, 1), op(15, 16, kComputing, 0)});
  const std::vector<TrackUse> use = track_use(t, t.ranks[0]);
  REQUIRE(use[0].gaps.size() == 1);
  CHECK(use[0].gaps[0].us() == 5);
  CHECK(use[0].busy_us == 11);
}

TEST_CASE("stream use: the parts of a rank's time add up to its span", "[study]") {
  // Computation 0-10 and 20-30, communication 5-15 and 28-40: 7 of 22 hidden (5-10, 28-30);
  // exposed 15, idle 15-20.
  const Timeline t = timeline({op(0, 10, kComputing, 0), op(5, 15, kCommunicating, 2),
                               op(20, 30, kComputing, 0), op(28, 40, kCommunicating, 2)});
  const Overlap o = overlap(t, t.ranks[0]);
  CHECK(o.span_us == 40);
  CHECK(o.compute_us == 20);
  CHECK(o.communication_us == 22);
  CHECK(o.hidden_us == 7);
  CHECK(o.exposed_us() == 15);
  CHECK(o.idle_us() == 5);
  CHECK(o.hidden_fraction() == Approx(7.0 / 22));
}

TEST_CASE("stream use: several at once count once", "[study]") {
  // Computation 0-10 twice; communication 0-4, 2-6 and 8-20: 6 + 12, of which 6 + 2 hidden.
  const Timeline t =
      timeline({op(0, 10, kComputing, 0), op(0, 10, kComputing, 1), op(0, 4, kCommunicating, 2),
                op(2, 6, kCommunicating, 2), op(8, 20, kCommunicating, 2)});
  const Overlap o = overlap(t, t.ranks[0]);
  CHECK(o.compute_us == 10);
  CHECK(o.communication_us == 18);
  CHECK(o.hidden_us == 8);
  CHECK(o.idle_us() == 0);
}

TEST_CASE("stream use: a rank without ops", "[study]") {
  const Timeline t = timeline({});
  CHECK(track_use(t, t.ranks[0]).empty());
  CHECK(overlap(t, t.ranks[0]).span_us == 0);
  CHECK(overlap(t, t.ranks[0]).hidden_fraction() == 0);
}

}  // namespace
}  // namespace orrery
