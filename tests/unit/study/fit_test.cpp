#include "sim/study/fit.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/report/json.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"

using namespace orrery;

namespace {

constexpr const char* kOverhead = "gpu/a100_sxm4_80gb: gemm_bf16/tile_overhead_us";

ValidateOptions options(int threads = 2) {
  ValidateOptions o;
  o.figure = result_value;
  o.threads = threads;
  return o;
}

void replace(std::string& text, const std::string& what, const std::string& with) {
  const std::size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  text.replace(at, what.size(), with);
}

// A folder with two published runs of one family, whose step times are those that the simulator
// predicts with tile_overhead_us = 4; the first is for the fit.
class Published {
 public:
  Published() {
    add("22b_full", true);
    add("22b_seq_selective", false);
  }
  std::string folder() const { return folder_.path(); }
  std::string write(const std::string& name, const std::string& text) const {
    testing::write(folder_.file(name), text);
    return folder_.file(name);
  }

 private:
  void add(const std::string& name, bool fitted) {
    const std::string root = kSourceDir;
    const std::string file = root + "/experiments/validation/korthikanti/" + name + ".json";
    std::string text = testing::content_of(file);
    const StudySpec s =
        load_study(file, {"/cluster/node/gpu/gemm_bf16/tile_overhead_us=4"}, kSourceDir);
    PredictOptions o;
    o.allow_oom = true;
    const std::string published = fmt::format("{:.12g}", predict(s, o).step_time_s);
    const std::size_t value = text.find("\"value\": ") + 9;
    text.replace(value, text.find(',', value) - value, published);
    replace(text, "../models/", root + "/experiments/validation/models/");
    const std::size_t mark = text.find("\"fitted\": ") + 10;
    text.replace(mark, text.find(',', mark) - mark, fitted ? "true" : "false");
    write(name + ".json", text);
  }

  testing::TemporaryDirectory folder_;
};

}  // namespace

TEST_CASE("A fit finds the constant that the published steps were made with", "[study][fit]") {
  const Published runs;
  const FitSpec spec{0.001, {{kOverhead, 3, 1, 0.1, 30}}};
  const FitResult r = fit(spec, runs.folder(), kSourceDir, options());
  CHECK(r.converged);
  REQUIRE(r.constants.size() == 1);
  // The prior pulls by residual^2 / (spread d)^2 = 1e-6 / d^2 of ln(4/3), d the change of ln(step)
  // with ln(constant), about 0.05: 0.01 %.
  CHECK(std::abs(r.constants[0].value - 4) < 0.01);
  CHECK(r.constants[0].runs == 1);
  // The run that was not fitted comes out too.
  REQUIRE(r.after.time.size() >= 2);
  CHECK(r.after.time[1].cases == 1);
  CHECK(r.after.time[1].largest < 1e-4);
  CHECK(r.before.time[1].largest > 1e-3);
}

TEST_CASE("Runs that scatter widely leave a constant near its prior", "[study][fit]") {
  const Published runs;
  const FitSpec spec{1, {{kOverhead, 3, 0.01, 0.1, 30}}};
  const FitResult r = fit(spec, runs.folder(), kSourceDir, options(1));
  CHECK(std::abs(r.constants[0].value - 3) < 0.01);
  // Of the prior's 1 % nothing is learnt.
  CHECK(std::abs(r.constants[0].deviation - 0.01) < 1e-4);
}

TEST_CASE("A fit stays in its range", "[study][fit]") {
  const Published runs;
  const FitSpec spec{0.001, {{kOverhead, 3, 1, 2, 3.5}}};
  CHECK(fit(spec, runs.folder(), kSourceDir, options()).constants[0].value == 3.5);
}

TEST_CASE("Beside a constant at its bound the others are fitted as beside a fixed one",
          "[study][fit]") {
  const Published runs;
  const FitConstant other{"gpu/a100_sxm4_80gb: kernel_fixed_us", 2.5, 1, 0.1, 50};
  const auto fitted = [&](const FitConstant& overhead) {
    return fit({0.001, {overhead, other}}, runs.folder(), kSourceDir, options());
  };
  const FitResult bound = fitted({kOverhead, 3, 1, 2, 3.5}),
                  fixed = fitted({kOverhead, 3.5, 1, 3.5, 3.5});
  CHECK(bound.constants[0].value == 3.5);
  // It makes up for the overhead that is missing.
  CHECK(bound.constants[1].value > 3);
  CHECK(std::abs(bound.constants[1].value / fixed.constants[1].value - 1) < 1e-3);
}

TEST_CASE("A constant that no fitted run reads is an error with the nearest name", "[study][fit]") {
  const Published runs;
  const FitSpec spec{0.05, {{"gpu/a100_sxm4_80gb: gemm_bf16/tile_overhead", 3, 1, 0.1, 30}}};
  const std::string message =
      testing::failure_of([&] { fit(spec, runs.folder(), kSourceDir, options()); }).message;
  CHECK(message.find("gemm_bf16/tile_overhead: no run") != std::string::npos);
  CHECK(message.find(std::string("did you mean ") + kOverhead) != std::string::npos);
}

TEST_CASE("A fit file is checked", "[study][fit]") {
  const Published runs;
  const std::string path = runs.write("spec.txt", R"({"residual": 0.05, "constants": [
    {"name": "a: b", "prior": 2, "spread": 0.1, "range": {"from": 3, "to": 4}, "sigma": 1}]})");
  const std::string message = testing::failure_of([&] { read_fit(path); }).message;
  CHECK(message.find("from 3 to 4 does not hold the prior 2") != std::string::npos);
  CHECK(message.find("sigma") != std::string::npos);
}
