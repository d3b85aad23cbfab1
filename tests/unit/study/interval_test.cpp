#include "sim/study/interval.h"

#include <cmath>

#include "sim/base/json_reader.h"
#include "sim/report/json.h"
#include "sim/report/residuals.h"
#include "sim/study/residual_runs.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

RunResidual row(const std::string& stack, const std::string& gpu, double ln_ratio) {
  RunResidual r;
  r.run = stack + gpu + std::to_string(ln_ratio);
  r.stack = stack;
  r.gpu = gpu;
  r.ln_ratio = r.ln_unfitted = ln_ratio;
  return r;
}

// Those of spread_test.cpp, whose variances are run 0.0008, GPU 0.0028, stack 0.00365 and mean
// 0.003025.
ResidualSpec residuals() {
  ResidualSpec s;
  s.time = {row("A", "x", 0.10), row("A", "x", 0.14),  row("A", "y", 0.02),
            row("A", "y", 0.06), row("B", "x", -0.05), row("B", "x", -0.01)};
  s.assumed_rate.value = 0.2;
  return s;
}

StudySpec study() {
  StudySpec s = small_cluster();
  s.residuals = residuals();
  return s;
}

FigureInterval time_of(const StudySpec& s, const RateShares& shares = {}) {
  return prediction_interval(s, shares).time.value();
}

double width(const FigureInterval& i) { return std::log(i.factors.high / i.factors.low); }

}  // namespace

TEST_CASE("An interval narrows from other stacks to other GPUs to the same GPU",
          "[study][interval]") {
  StudySpec s = study();
  const FigureInterval none = time_of(s);
  CHECK(none.basis == ErrorBasis::kOtherStacks);
  CHECK(none.error.centre == Approx(0.025));
  CHECK(contains(none.rests_on, "6 runs of 2 stacks, none of its stack"));
  s.stack.name = "A";
  const FigureInterval other = time_of(s);
  CHECK(other.basis == ErrorBasis::kOtherGpus);
  s.cluster.node.gpu.name = "x";
  const FigureInterval same = time_of(s);
  CHECK(same.basis == ErrorBasis::kSameGpu);
  CHECK(contains(same.rests_on, "4 of its stack, 2 of these on its GPU"));
  CHECK(width(same) < width(other));
  CHECK(width(other) < width(none));
  // A GPU that --set changed is no GPU that a run was on.
  s.gpu_changed = true;
  CHECK(width(time_of(s)) == width(other));
}

TEST_CASE("Which experiment it is does not matter", "[study][interval]") {
  StudySpec s = study();
  const FigureInterval before = time_of(s);
  s.name = s.residuals.time.front().run;
  s.path = "elsewhere.json";
  s.plan.name = s.model.family = "another";
  s.validation.emplace();
  CHECK(time_of(s).factors.low == before.factors.low);
  CHECK(time_of(s).factors.high == before.factors.high);
}

TEST_CASE("A stack is known by the profile that its step speed was fitted in",
          "[study][interval]") {
  StudySpec s = study();
  s.stack.step_speed.profile = "A";
  s.stack.step_speed.matrix.source = s.stack.step_speed.memory_bound.source = Source::kFitted;
  CHECK(stack_is_fitted(s.stack));
  CHECK(residual_stack(s.stack) == "A");
  CHECK(time_of(s).error.stack_runs == 4);
  s.stack.step_speed.matrix.source = Source::kAssumed;  // as --set leaves it
  s.stack.step_speed.matrix.value = 0.8;
  CHECK(!stack_is_fitted(s.stack));
  CHECK(time_of(s).error.stack_runs == 0);
  CHECK(time_of(s).error.centre == 0);
  CHECK(contains(time_of(s).rests_on, "step_speed is set by hand"));
}

TEST_CASE("A fitted step speed is read with the profile that says it", "[study][interval]") {
  const std::string root = kSourceDir;
  const StackSpec zero_bubble =
      load_study(root + "/experiments/validation/zero-bubble/1_5b_m24_1f1b.json", {}, root).stack;
  CHECK(residual_stack(zero_bubble) == "zero_bubble");  // whatever extends it
  const StackSpec by_hand =
      load_study(root + "/experiments/validation/zero-bubble/1_5b_m24_1f1b.json",
                 {"/stack/step_speed/matrix=0.9"}, root)
          .stack;
  CHECK(residual_stack(by_hand).empty());
  CHECK(memory_residual_stack(by_hand) == "zero_bubble");
}

TEST_CASE("A calibrated GPU has the errors of its held-out points", "[study][interval]") {
  StudySpec s = study();
  RateShares shares{};
  shares[kFirstGemmFamily] = 0.5;
  shares[0] = 0.3;
  GpuSpec& gpu = s.cluster.node.gpu;
  gpu.calibration = "orrery calibrate";
  gpu.held_out[kFirstGemmFamily] = {10, 0.1};
  gpu.held_out[0] = {5, 0.2};
  for (Sourced& e : gpu.hbm_efficiency) e.source = Source::kMeasured;
  gpu.gemm_bf16.mainloop_efficiency.source = Source::kMeasured;
  // (0.5 x 0.1)^2 + (0.3 x 0.2)^2 + 0.2^2 x 0.0028.
  CHECK(time_of(s, shares).error.gpu_part == Approx(0.0025 + 0.0036 + 0.000112));
  CHECK(contains(time_of(s, shares).rests_on, "its GPU was calibrated"));
  // A tenth as much error.
  gpu.held_out[kFirstGemmFamily].rms_ln = 0.01;
  gpu.held_out[0].rms_ln = 0.02;
  CHECK(time_of(s, shares).error.gpu_part == Approx(0.000025 + 0.000036 + 0.000112));
}

TEST_CASE("Assumed rates widen the interval by their share of the time", "[study][interval]") {
  StudySpec s = study();
  RateShares shares{};
  shares[0] = 0.5;
  GpuSpec& gpu = s.cluster.node.gpu;
  gpu.hbm_bandwidth_GBps.source = Source::kDatasheet;
  gpu.hbm_efficiency[0].source = Source::kMeasured;
  const FigureInterval measured = time_of(s, shares);
  gpu.hbm_efficiency[0].source = Source::kAssumed;
  const FigureInterval assumed = time_of(s, shares);
  // (0.5 x 0.2)^2
  CHECK(assumed.error.gpu_part - measured.error.gpu_part == Approx(0.01));
  CHECK(width(assumed) > width(measured));
  CHECK(contains(assumed.rests_on, "50.0 % of the kernels' time is at assumed rates"));
}

TEST_CASE("Memory has intervals of its own", "[study][interval]") {
  StudySpec s = study();
  CHECK(!prediction_interval(s, {}).memory);
  s.residuals.memory = {row("A", "", 0.1), row("A", "", 0.2), row("B", "", 0)};
  const FigureInterval m = prediction_interval(s, {}).memory.value();
  // Stack means 0.15 and 0.
  CHECK(m.error.centre == Approx(0.075));
  CHECK(m.error.gpu_part == 0);
  s.residuals.time.clear();
  CHECK(!prediction_interval(s, {}).time);
}

TEST_CASE("The shares of a step's kernels are the same whatever is folded", "[study][interval]") {
  const StudySpec study = small_cluster();  // which the compiled one refers to
  const CompiledStudy c = compile_study(study);
  const RateShares shares = rate_shares(c.plan, c.timing, c.graph);
  double sum = 0;
  for (const double s : shares) sum += s;
  CHECK(sum > 0.8);  // the rest is the router's and the layouts'
  CHECK(sum <= 1 + 1e-9);
  CHECK(shares[kFirstGemmFamily + 1] > 0.1);  // gemm_fp8
  CHECK(shares[kAttentionBackwardFamily] > shares[kAttentionForwardFamily]);
  CHECK(shares[kFirstGemmFamily + 4] == 0);  // gemm_mxfp8
}

TEST_CASE("The report's figures move together", "[study][interval]") {
  StudySpec s = study();
  s.residuals.memory = {row("A", "", 0.1), row("A", "", 0.2), row("B", "", 0)};
  PredictOptions options;
  options.allow_oom = true;
  const Prediction p = predict(s, options);
  const auto value = [&](const char* name) {
    double v = 0;
    CAPTURE(name);
    REQUIRE(result_value(p, name, v));
    return v;
  };
  const double step = value("step_time_s");
  const double low = value("interval/step_time_s/low"), high = value("interval/step_time_s/high");
  CHECK(low < step);
  CHECK(step < high);
  CHECK(value("interval/tokens_per_s_per_gpu/low") * high ==
        Approx(value("tokens_per_s_per_gpu") * step));
  CHECK(value("interval/highest_peak_memory_GiB/high") ==
        Approx(value("highest_peak_memory_GiB") * p.interval.memory->factors.high));
  CHECK(json_report(p) == json_report(predict(s, options)));
}

TEST_CASE("Residuals are written as they are read", "[study][interval]") {
  ResidualSpec s = residuals();
  s.name = "n", s.reference = "orrery validate --residuals", s.date = "2026-11";
  s.assumed_rate.reference = "a guess";
  s.time[0].stack_fitted = true;
  s.time[0].ln_unfitted = 0.25;
  s.memory = {row("A", "", 0.1)};
  const json::Node n = json::parse_json(residuals_json(s), "residuals.json");
  Diagnostics d;
  const ResidualSpec back = read_residuals(json::Reader(n, "", d));
  d.throw_if_any();
  REQUIRE(back.time.size() == s.time.size());
  CHECK(back.time[0].ln_unfitted == 0.25);
  CHECK(back.time[0].stack_fitted);
  CHECK(!back.time[1].stack_fitted);
  CHECK(back.time[5].ln_ratio == -0.01);
  CHECK(back.time[5].gpu == "x");
  CHECK(back.memory[0].stack == "A");
  CHECK(residuals_json(back) == residuals_json(s));
}

TEST_CASE("A file of residuals is checked", "[study][interval]") {
  const json::Node n = json::parse_json(R"({"name": "n", "reference": "r",
    "assumed_rate": {"value": 0.2, "source": "assumed", "reference": "a guess"},
    "time": [{"run": "a", "stack": "s", "gpu": "g", "ln_ratio": 15},
             {"run": "a", "stack": "s", "gpu": "g", "ln_ratio": 0, "fitted": true}],
    "memory": []})",
                                        "residuals.json");
  Diagnostics d;
  read_residuals(json::Reader(n, "", d));
  const std::string message = error_of([&] { d.throw_if_any(); });
  CHECK(contains(message, "/time/0/ln_ratio"));
  CHECK(contains(message, "\"a\" is in the list already"));
  CHECK(contains(message, "fitted"));
}

TEST_CASE("Residuals of a folder are those of its fitted runs, before and after the fit",
          "[study][interval]") {
  const std::string root = kSourceDir;
  const std::string source =
      testing::content_of(root + "/experiments/validation/korthikanti/22b_full.json");
  testing::TemporaryDirectory folder;
  const auto add = [&](const std::string& name, const std::string& fitted) {
    std::string text = source;
    const auto replace = [&](const std::string& what, const std::string& with) {
      REQUIRE(text.find(what) != std::string::npos);
      text.replace(text.find(what), what.size(), with);
    };
    replace("../models/", root + "/experiments/validation/models/");
    replace("korthikanti/22b_full", name);
    replace("\"fitted\": false", "\"fitted\": " + fitted);
    testing::write(folder.file(name + ".json"), text);
  };
  add("kept", "true");
  add("held_back", "false");
  ValidateOptions options;
  options.figure = result_value;
  const ResidualSpec r = residual_runs(folder.path(), root, options).residuals;
  REQUIRE(r.time.size() == 1);
  CHECK(r.memory.empty());
  CHECK(r.time[0].run == "kept");
  CHECK(r.time[0].stack == "megatron_lm_2022");
  const StudySpec s = load_study(folder.file("kept.json"), {}, root);
  CHECK(r.time[0].gpu == s.cluster.node.gpu.name);
  CHECK(r.time[0].ln_ratio == Approx(std::log(1.42 / predict(s, {}).step_time_s)));
  StudySpec unfitted = s;
  unfitted.stack.step_speed = {};
  CHECK(r.time[0].stack_fitted);
  CHECK(r.time[0].ln_unfitted == Approx(std::log(1.42 / predict(unfitted, {}).step_time_s)));
  CHECK(r.assumed_rate.value == s.residuals.assumed_rate.value);
  // The published runs' file does not hold it: validate says so.
  const Validation v = validate(folder.path(), root, options);
  CHECK(v.stale == std::vector<std::string>{"kept"});
}
