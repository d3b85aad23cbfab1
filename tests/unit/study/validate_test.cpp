#include "sim/study/validate.h"

#include <utility>

#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"

using namespace orrery;

namespace {

ValidationResult result(std::string name, std::string figure, double published, double predicted) {
  ValidationResult r;
  r.name = std::move(name);
  r.family = "f";
  r.figure = std::move(figure);
  r.published = published;
  r.predicted = predicted;
  return r;
}

}  // namespace

TEST_CASE("An error is of the step's time whatever the figure", "[study]") {
  CHECK(result("a", "step_time_s", 10, 11).error() == Approx(0.1));
  // 100 tokens/s published, 80 predicted: a step 100/80 = 1.25 times as long.
  CHECK(result("b", "tokens_per_s_per_gpu", 100, 80).error() == Approx(0.25));
  ValidationResult m = result("c", "highest_peak_memory_GiB", 50, 40);
  m.memory = true;
  CHECK(m.error() == Approx(-0.2));
}

TEST_CASE("Errors are summarised by nearest rank, per family, and without the fitted", "[study]") {
  Validation v;
  // Absolute errors 1, 2, ... 10 %, every other one negative.
  for (int i = 1; i <= 10; ++i)
    v.results.push_back(result("case", "step_time_s", 100, 100 + (i % 2 == 0 ? i : -i)));
  v.results[9].fitted = true;
  v.results.push_back(result("fails", "step_time_s", 1, 0));
  v.results.back().problem = "does not fit";
  summarise(v);
  REQUIRE(v.time.size() == 3);
  CHECK(v.memory.empty());
  CHECK(v.time[0].cases == 10);
  CHECK(v.time[0].median == Approx(0.05));  // rank 5 of 10
  CHECK(v.time[0].p90 == Approx(0.09));     // rank 9 of 10
  CHECK(v.time[0].largest == Approx(0.10));
  CHECK(v.time[0].bias == Approx(0.005));  // (-1+2-3+4-5+6-7+8-9+10)/10 = 0.5 %
  CHECK(v.time[1].name == "never used for a fit");
  CHECK(v.time[1].cases == 9);
  CHECK(v.time[2].name == "f");
}

TEST_CASE("Intervals are counted apart for fitted runs and by what the others rest on",
          "[study][interval]") {
  Validation v;
  const auto add = [&](double published, bool fitted, ErrorBasis basis, bool memory) {
    ValidationResult r =
        result("case", memory ? "highest_peak_memory_GiB" : "step_time_s", published, 10);
    r.low = 9, r.high = 12, r.fitted = fitted, r.basis = basis, r.memory = memory;
    v.results.push_back(r);
  };
  add(9, true, ErrorBasis::kSameGpu, false);  // at the bound: covered
  add(12.1, true, ErrorBasis::kSameGpu, false);
  add(11, false, ErrorBasis::kOtherStacks, false);
  add(8, false, ErrorBasis::kSameGpu, false);
  add(10, false, ErrorBasis::kSameGpu, false);
  add(13, false, ErrorBasis::kOtherStacks, true);
  v.results.push_back(result("no interval", "step_time_s", 1, 1));
  summarise(v);
  const auto is = [](const Coverage& c, int cases, int covered) {
    CAPTURE(c.name);
    CHECK(c.cases == cases);
    CHECK(c.covered == covered);
  };
  REQUIRE(v.time_coverage.size() == 4);
  is(v.time_coverage[0], 2, 1);  // used
  is(v.time_coverage[1], 3, 2);  // never used
  is(v.time_coverage[2], 1, 1);  // of these, of other stacks
  is(v.time_coverage[3], 2, 1);  // and on the same GPU
  CHECK(v.time_coverage[1].fraction() == Approx(2.0 / 3));
  REQUIRE(v.memory_coverage.size() == 2);
  is(v.memory_coverage[0], 1, 0);
}

TEST_CASE("The bounds of a rate are those of the step the other way round", "[study][interval]") {
  const std::string root = kSourceDir;
  StudySpec s = load_study(root + "/experiments/validation/korthikanti/22b_full.json", {}, root);
  s.published.push_back({"tokens_per_s_per_gpu", 1, ""});
  ValidateOptions options;
  options.figure = [](const Prediction& p, const std::string& name, double& value) {
    value = name == "step_time_s" ? p.step_time_s : p.tokens_per_s_per_gpu;
    return true;
  };
  const std::vector<ValidationResult> r = validate_case(s, s.name, options);
  REQUIRE(r.size() == 2);
  REQUIRE(r[0].has_interval());
  CHECK(r[0].low * r[1].high == Approx(r[0].predicted * r[1].predicted));
  CHECK(r[0].high * r[1].low == Approx(r[0].predicted * r[1].predicted));
}

TEST_CASE("Runs of one group must come out in the published order", "[study]") {
  Validation v;
  v.results = {result("slow", "samples_per_s_per_gpu", 10, 12),
               result("fast", "samples_per_s_per_gpu", 11, 11),
               result("same", "samples_per_s_per_gpu", 11.01, 9)};
  for (ValidationResult& r : v.results) r.group = "g";
  summarise(v);
  // fast and same are within half a percent of each other; both should beat slow, and neither does.
  CHECK(v.ordered_pairs == 2);
  CHECK(v.wrong_orders.size() == 2);
}

TEST_CASE("A folder without cases is an error that names it", "[study]") {
  const std::string root = kSourceDir;
  const auto message = [&](const std::string& folder) {
    return testing::failure_of([&] { validate(folder, root, {}); }).message;
  };
  CHECK(message(root + "/scripts").find("scripts: found no experiment with a \"validation\"") !=
        std::string::npos);
  CHECK(message(root + "/nowhere").find("nowhere: there is no such folder") != std::string::npos);
}
