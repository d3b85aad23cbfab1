#include "sim/import/run_metrics.h"

#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

RunMetrics read_lines(const std::string& lines) {
  const testing::TemporaryDirectory dir;
  testing::write(dir.file("m.jsonl"), lines);
  return read_run_metrics(dir.file("m.jsonl"));
}

std::string line(double step_s) {
  return R"({"step":1,"loss":2.5,"step_time_s":)" + std::to_string(step_s) +
         R"(,"memory_GiB":1.5})" + "\n";
}

}  // namespace

TEST_CASE("Metrics: the median step without the first and the last", "[import]") {
  // Of 0.2, 0.4, 0.3 and 0.1: (0.2 + 0.3) / 2.
  const RunMetrics m =
      read_lines(line(9) + line(0.2) + line(0.4) + line(0.3) + line(0.1) + line(5));
  CHECK(m.steps == 4);
  REQUIRE(m.step_us.has_value());
  CHECK(*m.step_us == Approx(0.25e6));
  CHECK(m.peak_bytes == int64_t{3} << 29);
}

TEST_CASE("Metrics: two steps are the first and the last", "[import]") {
  const RunMetrics m = read_lines(line(9) + line(0.2));
  CHECK_FALSE(m.step_us.has_value());
  CHECK(m.steps == 0);
}

TEST_CASE("Metrics: a line that is none is named", "[import]") {
  CHECK(contains(error_of([] { read_lines(line(1) + "{}\n"); }), "m.jsonl:2: found no number"));
  CHECK(testing::failure_of([] { read_run_metrics("nowhere.jsonl"); }).code == ExitCode::kNoInput);
}

TEST_CASE("Metrics: those of a kept run", "[import]") {
  const RunMetrics m =
      read_run_metrics(std::string(kSourceDir) +
                       "/experiments/validation_h200/measured/dense_small_bf16.metrics.jsonl");
  CHECK(m.steps == 6);
  CHECK(*m.step_us == Approx(90000).epsilon(0.02));
}
