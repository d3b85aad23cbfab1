// Two hand-made traces of one plan, tests/data/compare. Op by op, in microseconds:
//   q_proj fwd       compute      a   0-100   b   0-110
//   dispatch tokens  all-to-all   a  60-160   b  60-200
//   experts up fwd   compute      a 120-220   b 200-310
//   adamw            compute      a 220-260   b 320-360
#include <nlohmann/json.hpp>

#include "sim/report/compare_run.h"
#include "sim/report/perfetto_pair.h"
#include "sim/study/compare_run.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

namespace orrery {
namespace {

using testing::Failure;
using testing::failure_of;

constexpr int64_t kMiB = 1 << 20;

NamedRun run(const std::string& name) {
  return {name, read_run_trace(std::string(kSourceDir) + "/tests/data/compare/" + name)};
}
RunComparison compared() { return compare_runs(run("run_a.json"), run("run_b.json")); }

TEST_CASE("two runs: times by op kind and by op", "[study]") {
  const RunComparison c = compared();
  CHECK(c.matched == 4);
  CHECK(c.complete());
  CHECK(c.step.predicted_us == 260);
  CHECK(c.step.measured_us == 360);
  REQUIRE(c.kinds.size() == 3);  // by b: gemm_bf16 110 + 110, dispatch 140, adamw 40
  CHECK(c.kinds[0].name == "gemm_bf16");
  CHECK(c.kinds[0].predicted_us == 200);
  CHECK(c.kinds[0].measured_us == 220);
  CHECK(c.kinds[0].measured_count == 2);
  CHECK(c.kinds[1].name == "dispatch");
  CHECK(c.kinds[1].measured_us == 140);
  const std::vector<ComparedRow> groups = by_group(c.ops);
  REQUIRE(groups.size() == 4);  // the largest difference first, without the layer
  CHECK(groups[0].name == "dispatch(F) dispatch tokens");
  CHECK(groups[0].miss_us() == -40);
}

TEST_CASE("two runs: what of the communication is hidden", "[study]") {
  const SideBySide s = compared().sides;
  // a: 60-160 beside computation at 60-100 and 120-160. b: 60-200 beside 60-110; nothing runs at
  // 310-320.
  CHECK(s.predicted.hidden_us == 80);
  CHECK(s.predicted.exposed_us() == 20);
  CHECK(s.predicted.idle_us() == 0);
  CHECK(s.measured.compute_us == 260);
  CHECK(s.measured.communication_us == 140);
  CHECK(s.measured.hidden_us == 50);
  CHECK(s.measured.idle_us() == 10);
}

TEST_CASE("two runs: how streams are used", "[study]") {
  const SideBySide s = compared().sides;
  REQUIRE(s.tracks.size() == 2);
  const ComparedTrack& compute = s.tracks[0];
  CHECK(compute.track == "compute");
  CHECK(compute.predicted.busy_us == 240);
  CHECK(compute.predicted.idle_us == 20);  // 100-120
  CHECK(compute.predicted.gaps == 1);
  CHECK(compute.measured.idle_us == 100);  // 110-200 and 310-320
  CHECK(compute.measured.longest_us == 90);
  CHECK(compute.measured.after == "layer 0 attn(F) q_proj fwd");
  CHECK(compute.measured.before == "layer 0 mlp(F) experts up fwd");
}

TEST_CASE("two runs: gaps in computation, with what both idle between the same ops", "[study]") {
  const SideBySide s = compared().sides;
  // b: 110-200, during the dispatch until then, where a has 100-120; 310-320, where a has none.
  REQUIRE(s.gaps.size() == 2);
  CHECK(s.gaps[0].after == "attn(F) q_proj fwd");
  CHECK(s.gaps[0].before == "mlp(F) experts up fwd");
  CHECK(s.gaps[0].beside == "dispatch(F) dispatch tokens");
  CHECK(s.gaps[0].gaps == 1);
  CHECK(s.gaps[0].predicted_us == 20);
  CHECK(s.gaps[0].measured_us == 90);
  CHECK(s.gaps[0].longest_start_us == 110);
  CHECK(s.gaps[1].beside.empty());
  CHECK(s.gaps[1].predicted_us == 0);
  CHECK(s.gaps[1].measured_us == 10);
}

TEST_CASE("two runs: a gap that only the first has", "[study]") {
  // The other way round 310-320 is a gap of the first alone.
  const RunComparison c = compare_runs(run("run_b.json"), run("run_a.json"));
  REQUIRE(c.sides.gaps.size() == 2);
  CHECK(c.sides.gaps[0].predicted_us == 90);
  CHECK(c.sides.gaps[0].measured_us == 20);
  CHECK(c.sides.gaps[1].predicted_us == 10);
  CHECK(c.sides.gaps[1].measured_us == 0);
  CHECK(c.sides.gaps[1].gaps == 0);
}

TEST_CASE("two runs: what computes between two ops is no gap of theirs", "[study]") {
  NamedRun a = run("run_a.json"), b = run("run_b.json");
  const auto add = [](NamedRun& r, double start, double end) {
    r.trace.ops.push_back(
        {0, 0, 0, 4, "layer 0 mlp(W) up wgrad", StreamKind::kComputeAux, start, end, "gemm_bf16"});
  };
  // a idles 115-120 only, after the new op. In b that lies within q_proj, and 110-200 is a gap
  // still; between the same ops, 100-120, a computes but for 5.
  add(a, 100, 115);
  add(b, 60, 100);
  const SideBySide s = compare_runs(a, b).sides;
  REQUIRE(s.gaps.size() == 3);
  CHECK(s.gaps[0].after == "attn(F) q_proj fwd");
  CHECK(s.gaps[0].predicted_us == 5);
  CHECK(s.gaps[0].measured_us == 90);
  // The gap that only a has: b idles 110-200 after the new op's end too.
  CHECK(s.gaps[1].after == "mlp(W) up wgrad");
  CHECK(s.gaps[1].gaps == 0);
  CHECK(s.gaps[1].predicted_us == 5);
  CHECK(s.gaps[1].measured_us == 90);
}

TEST_CASE("two runs: memory at the same ops", "[study]") {
  const SideBySide s = compared().sides;
  REQUIRE(s.memory.size() == 1);
  const ComparedMemory& m = s.memory[0];
  CHECK(m.predicted_peak == 2000 * kMiB);
  CHECK(m.measured_peak == 2500 * kMiB);
  CHECK(m.measured_at == "layer 0 mlp(F) experts up fwd");
  // MiB a / b: 1000 / 1000, 1500 / 1600, 2000 / 2500, 1200 / 1200:
  // (0 + 0.0625 + 0.2 + 0) / 4 = 0.065625.
  CHECK(m.ops == 4);
  CHECK(m.mean_error == Approx(0.065625));
  CHECK(m.largest_at == "layer 0 mlp(F) experts up fwd");
  CHECK(m.predicted_there == 2000 * kMiB);
  REQUIRE(m.calls.size() == 2);
  CHECK(m.calls[0].measured == 2500 * kMiB);
  CHECK(m.calls[1].predicted == 1200 * kMiB);
}

TEST_CASE("two runs: traces without kinds and memory are compared by op", "[study]") {
  NamedRun a = run("run_a.json"), b = run("run_b.json");
  for (NamedRun* r : {&a, &b})
    for (RunTraceOp& o : r->trace.ops) o.kind.clear(), o.memory_bytes = -1;
  const RunComparison c = compare_runs(a, b);
  CHECK(c.kinds.empty());
  CHECK(c.ops.size() == 4);
  CHECK(c.sides.predicted.hidden_us == 80);  // by stream
  CHECK(c.sides.memory[0].measured_peak == -1);
  CHECK(c.sides.memory[0].ops == 0);
  const std::string text = run_comparison_text("step", c, two_runs(), 10);
  CHECK_FALSE(contains(text, "By op kind"));
}

TEST_CASE("two runs: of different plans, what differs is named", "[study]") {
  const NamedRun a = run("run_a.json");
  NamedRun b = run("run_b.json");
  const auto message = [&] {
    const Failure f = failure_of([&] { compare_runs(a, b); });
    CHECK(f.code == ExitCode::kBadInput);
    return f.message;
  };
  SECTION("an op more") {
    RunTraceOp more = b.trace.ops[0];
    more.op = 9;
    b.trace.ops.push_back(more);
    CHECK(contains(message(),
                   "run_b.json: has 1 op that run_a.json lacks, first class 0 call 0 op 9"));
  }
  SECTION("an op under another name") {
    b.trace.ops[0].name = "layer 0 attn(F) kv_proj fwd";
    const std::string m = message();
    CHECK(contains(m, "q_proj"));
    CHECK(contains(m, "kv_proj"));
  }
  SECTION("other ranks, classes and experiment") {
    RunTraceOp other = b.trace.ops[0];
    other.rank = 1, other.rank_class = 1;
    b.trace.ops.push_back(other);
    b.trace.classes = 2;
    b.trace.experiment = "another";
    const std::string m = message();
    CHECK(contains(m, "of experiment \"another\""));
    CHECK(contains(m, "2 pipeline ranks"));
    CHECK(contains(m, "holds 2 ranks, 0 to 1"));
  }
}

TEST_CASE("two runs: one Perfetto trace has both, each op with the other's time", "[study]") {
  const RunComparison c = compared();
  const auto trace =
      nlohmann::json::parse(side_by_side_trace("t", c.predicted, c.measured, two_runs(), true));
  int slices = 0, counters = 0;
  std::vector<std::string> processes;
  for (const auto& e : trace["traceEvents"]) {
    if (e["ph"] == "M" && e["name"] == "process_name") processes.push_back(e["args"]["name"]);
    if (e["ph"] == "C") ++counters;
    if (e["ph"] != "X") continue;
    ++slices;
    if (e["name"] != "layer 0 mlp(F) experts up fwd") continue;
    CHECK(e["args"]["kind"] == "gemm_bf16");
    CHECK(e["ts"] == (e["pid"] == 0 ? 120.0 : 200.0));
    CHECK(e["args"][e["pid"] == 0 ? "b_us" : "a_us"] == (e["pid"] == 0 ? 110.0 : 100.0));
  }
  CHECK(slices == 8);
  CHECK(counters == 8);
  CHECK(processes == std::vector<std::string>{"a rank 0", "b rank 0"});
}

// What the simulator says of one rank, as if that rank had run alone.
RunTrace simulated_trace(const StudySpec& study, std::size_t rank_class) {
  const CompiledStudy compiled = compile_study(study);
  SimOptions options = sim_options(study);
  options.record = true;
  RunTrace t;
  t.classes = static_cast<int>(compiled.plan.classes.size());
  t.fake_process_group = true;
  for (const OpRecord& r : simulate(compiled.plan, compiled.timing, options).records)
    if (r.rank_class == rank_class)
      t.ops.push_back({r.rank_class, compiled.plan.classes[rank_class].first_rank + 1, r.call, r.op,
                       compiled.plan.op_name(r.op), r.stream, micros(r.start), micros(r.end)});
  return t;
}

TEST_CASE("a rank with a fake process group: its compute beside that of its class", "[study]") {
  const StudySpec study = small_cluster();
  RunTrace trace = simulated_trace(study, 1);
  const RunComparison c = compare_run(study, trace);
  CHECK(c.complete());
  CHECK(c.predicted.ranks.size() == 1);
  CHECK(c.predicted.ranks[0].rank_class == 1);
  CHECK(c.step.predicted_us == Approx(c.step.measured_us));
  REQUIRE(c.not_run.has_value());
  CHECK(c.not_run->predicted_count > 0);
  CHECK(c.matched + c.not_run->predicted_count == static_cast<int64_t>(trace.ops.size()));
  for (const ComparedRow& kind : c.kinds) {
    CHECK(kind.name != "dispatch");
    CHECK(kind.name != "send");
  }
  const std::string text = run_comparison_text("a rank", c, predicted_and_measured(), 3);
  CHECK(text.find("one rank with a fake process group") != std::string::npos);
  trace.fake_process_group = false;  // then the other classes' ops are missed
  CHECK_FALSE(compare_run(study, trace).complete());
}

TEST_CASE("a trace says when its process group was fake", "[study]") {
  RunTrace t;
  t.experiment = "x", t.device = "y", t.classes = 1;
  CHECK(run_trace_json(t).find("fake") == std::string::npos);
  t.fake_process_group = true;
  CHECK(run_trace_json(t).find("\"fake_process_group\":true") != std::string::npos);
}

}  // namespace
}  // namespace orrery
