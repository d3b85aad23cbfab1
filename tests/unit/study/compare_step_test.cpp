// tests/data/compare/kineto.json, a hand-made PyTorch trace. Its step 2, from the first kernel on:
//   gemm 0-400, element-wise 400-450, unknown 700-740, optimizer 740-900 on stream 7;
//   all-reduce 300-600 on stream 20; 900 MiB allocated at 450.
#include "sim/report/compare.h"
#include "sim/report/side_by_side.h"
#include "sim/study/compare.h"
#include "tests/catch.h"
#include "tests/unit/runtime/tiny_training.h"

namespace orrery {
namespace {

Comparison compared_step() {
  const std::string path = std::string(kSourceDir) + "/tests/data/compare/kineto.json";
  return compare_step(tiny_llama(), 0, select_step(read_kineto(path), std::nullopt, path));
}

const ComparedRow& family(const Comparison& c, const std::string& name) {
  for (const ComparedRow& r : c.classes)
    if (r.name == name) return r;
  FAIL("no family " << name);
  return c.total;
}

TEST_CASE("kineto step: families of kernels beside families of ops", "[study]") {
  const Comparison c = compared_step();
  CHECK(c.total.name == "step");
  CHECK(c.total.measured_us == 1000);
  CHECK(c.total.predicted_us > 0);
  CHECK(family(c, "gemm").measured_us == 400);
  CHECK(family(c, "gemm").predicted_us > 0);
  CHECK(family(c, "optimizer").measured_us == 160);
  CHECK(family(c, "all-reduce").measured_us == 300);
  CHECK(family(c, "element-wise").measured_us == 50);
  CHECK(family(c, "unknown").measured_us == 40);
  CHECK(family(c, "unknown").predicted_us == 0);
  double predicted = 0;
  for (const ComparedRow& r : c.classes) predicted += r.predicted_us;
  double ops = 0;
  for (const TimelineOp& o : c.predicted.ranks[0].ops) ops += o.end_us - o.start_us;
  CHECK(predicted == Approx(ops));
  REQUIRE(c.unknown.size() == 1);
  CHECK(c.unknown[0].name == "my_fused_thing(float*, int)");
}

TEST_CASE("kineto step: streams by role, overlap and memory", "[study]") {
  const Comparison c = compared_step();
  // Computation 0-450 and 700-900; of the all-reduce 300-450 is hidden; 600-700 nothing runs.
  CHECK(c.sides.measured.compute_us == 650);
  CHECK(c.sides.measured.hidden_us == 150);
  CHECK(c.sides.measured.idle_us() == 100);
  REQUIRE(c.sides.tracks.size() == 2);
  CHECK(c.sides.tracks[0].track == kComputeTrack);
  CHECK(c.sides.tracks[0].measured.busy_us == 650);
  CHECK(c.sides.tracks[0].measured.longest_us == 250);
  CHECK(c.sides.tracks[1].track == kCommunicationTrack);
  REQUIRE(c.sides.memory.size() == 1);
  CHECK(c.sides.memory[0].measured_peak == int64_t{900} << 20);
  CHECK(contains(c.sides.memory[0].measured_at, "vectorized_elementwise"));
  CHECK(c.sides.memory[0].predicted_peak > 0);
}

}  // namespace
}  // namespace orrery
