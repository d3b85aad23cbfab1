// Traces of steps that were run: writing, strict reading, and the join with the simulated step.
#include "sim/exec/run_trace.h"

#include "runtime/train/step_trace.h"
#include "sim/study/compare_run.h"
#include "tests/catch.h"
#include "tests/unit/runtime/tiny_training.h"

namespace orrery {
namespace {

using testing::Failure;
using testing::failure_of;
using testing::TemporaryDirectory;

RunTrace traced(TinyTraining& t) {
  t.train(2);
  return take_trace(t.plan, t.executor, t.study.name, "cpu");
}

TEST_CASE("run trace: comes back as it was written", "[runtime]") {
  const TemporaryDirectory dir;
  RunTrace t;
  t.experiment = "a \"quoted\" name";
  t.device = "cpu";
  t.classes = 2;
  t.ops = {{0, 0, 0, 7, "layer 0 attn(F) q_up", StreamKind::kCompute, 0.25, 1e6 + 0.125, "gemm_fp8",
            int64_t{3} << 32},
           {1, 3, 4, 9, "recv", StreamKind::kRecvForward1, 0.1, 0.1, "recv"}};
  testing::write(dir.file("t.json"), run_trace_json(t));
  const RunTrace back = read_run_trace(dir.file("t.json"));
  CHECK(back.experiment == t.experiment);
  CHECK(back.device == t.device);
  CHECK(back.classes == 2);
  REQUIRE(back.ops.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(back.ops[i].rank_class == t.ops[i].rank_class);
    CHECK(back.ops[i].rank == t.ops[i].rank);
    CHECK(back.ops[i].call == t.ops[i].call);
    CHECK(back.ops[i].op == t.ops[i].op);
    CHECK(back.ops[i].name == t.ops[i].name);
    CHECK(back.ops[i].stream == t.ops[i].stream);
    CHECK(back.ops[i].start_us == t.ops[i].start_us);
    CHECK(back.ops[i].end_us == t.ops[i].end_us);
    CHECK(back.ops[i].kind == t.ops[i].kind);
    CHECK(back.ops[i].memory_bytes == t.ops[i].memory_bytes);
  }
}

TEST_CASE("run trace: what is not as it should be is named", "[runtime]") {
  const TemporaryDirectory dir;
  const auto refusal = [&](const std::string& text) {
    testing::write(dir.file("t.json"), text);
    const Failure f = failure_of([&] { read_run_trace(dir.file("t.json")); });
    CHECK(f.code == ExitCode::kBadInput);
    return f.message;
  };
  const auto with_op = [](const std::string& op) {
    return R"({"schema_version":1,"kind":"orrery_trace","experiment":"e","device":"d",)"
           R"("classes":1,"ops":[{)" +
           op + "}]}";
  };
  const std::string rest = R"("rank":0,"call":0,"op":0,"name":"n","start_us":1)";
  CHECK(contains(refusal(R"({"traceEvents":[]})"), "without --run"));
  CHECK(contains(refusal(R"({"kind":"other","schema_version":1})"), "/kind: found \"other\""));
  CHECK(contains(refusal(R"({"kind":"orrery_trace","schema_version":3})"), "/schema_version"));
  CHECK(contains(refusal(with_op(rest + R"(,"class":1,"stream":"compute","end_us":2)")),
                 "/ops/0/class"));
  CHECK(contains(refusal(with_op(rest + R"(,"class":0,"stream":"comput","end_us":2)")),
                 "did you mean \"compute\""));
  CHECK(contains(refusal(with_op(rest + R"(,"class":0,"stream":"compute","end_us":0.5)")),
                 "before start_us"));
  CHECK(contains(refusal(with_op(rest + R"(,"class":0,"stream":"compute","end_us":2,"x":1)")),
                 "/ops/0/x"));
  CHECK(failure_of([&] { read_run_trace(dir.file("none.json")); }).code == ExitCode::kNoInput);

  const std::string second =
      R"({"schema_version":2,"kind":"orrery_trace","experiment":"e","device":"d","classes":1,"ops":[{)" +
      rest + R"(,"class":0,"stream":"compute","end_us":2,)";
  CHECK(contains(refusal(second + R"("kind":"gem_fp8"}]})"), "did you mean \"gemm_fp8\""));
  CHECK(contains(refusal(second + R"("kind":"copy","memory_bytes":-1}]})"), "/ops/0/memory_bytes"));
}

TEST_CASE("run trace: those of version 1 say nothing of kinds and memory", "[runtime]") {
  const TemporaryDirectory dir;
  testing::write(dir.file("t.json"),
                 R"({"schema_version":1,"kind":"orrery_trace","experiment":"e","device":"d",)"
                 R"("classes":1,"ops":[{"class":0,"rank":0,"call":0,"op":0,"name":"n",)"
                 R"("stream":"compute","start_us":1,"end_us":2}]})");
  const RunTrace t = read_run_trace(dir.file("t.json"));
  REQUIRE(t.ops.size() == 1);
  CHECK(t.ops[0].kind.empty());
  CHECK(t.ops[0].memory_bytes == -1);
}

TEST_CASE("run trace: every op of a run is an op of the simulated step", "[runtime]") {
  TinyTraining t(tiny_moe_training({.pipeline = 2,
                                    .data = 2,
                                    .expert = 2,
                                    .schedule = "dualpipe",
                                    .more = {"/plan/overlap_expert_parallel=true"}}),
                 true);
  RunTrace trace = traced(t);
  CHECK(trace.classes == 2);
  const RunComparison c = compare_run(t.study, trace);
  CHECK(c.complete());
  CHECK(c.matched * 2 == static_cast<int64_t>(trace.ops.size()));  // two ranks of each class
  int ops = 0;
  double predicted = 0;
  for (const ComparedRow& row : c.kinds) {
    ops += row.measured_count;
    predicted += row.predicted_us;
    CHECK(row.measured_us >= 0);
  }
  CHECK(ops == c.matched);
  CHECK(predicted > 0);
  int by_operator = 0;
  double of_operators = 0;
  for (const ComparedOp& o : c.ops) {
    CHECK(o.row.predicted_count > 0);
    by_operator += o.row.measured_count;
    of_operators += o.row.predicted_us;
  }
  CHECK(by_operator == ops);
  CHECK(of_operators == Approx(predicted));
  CHECK(c.step.predicted_us > 0);
  CHECK(c.step.measured_us > 0);
  CHECK(c.sides.predicted.communication_us > 0);
  CHECK(c.sides.measured.communication_us > 0);
  REQUIRE(c.sides.memory.size() == 2);
  for (const ComparedMemory& m : c.sides.memory) {
    CHECK(m.ops == static_cast<int64_t>(c.measured.ranks[0].ops.size()));
    CHECK(m.predicted_peak > 0);
    CHECK(m.measured_peak > 0);
  }

  SECTION("an op that is missing on one rank is listed") {
    const RunTraceOp gone = trace.ops.back();
    trace.ops.pop_back();
    const RunComparison less = compare_run(t.study, trace);
    REQUIRE(less.only_simulated.size() == 1);
    CHECK(contains(less.only_simulated[0], gone.name));
    CHECK(less.matched == c.matched - 1);
  }
  SECTION("an op of another name is listed") {
    trace.ops[5].name = "something else";
    CHECK(compare_run(t.study, trace).only_simulated.size() == 1);
  }
  SECTION("an op that is there twice is listed") {
    trace.ops.push_back(trace.ops[5]);
    CHECK(compare_run(t.study, trace).only_simulated.size() == 1);
  }
  SECTION("an op that the plan does not have is listed") {
    RunTraceOp extra = trace.ops[5];
    extra.call = 100000;
    trace.ops.push_back(extra);
    const RunComparison more = compare_run(t.study, trace);
    CHECK(more.only_simulated.empty());
    REQUIRE(more.only_measured.size() == 1);
    CHECK(contains(more.only_measured[0], "call 100000"));
  }
}

TEST_CASE("run trace: the measured time of an op is the mean over its ranks", "[runtime]") {
  TinyTraining t(tiny_moe_training({.data = 2}), true);
  RunTrace trace = traced(t);
  for (RunTraceOp& o : trace.ops) {
    o.start_us = 0;
    o.end_us = o.rank == 0 ? 1 : 3;
  }
  const RunComparison c = compare_run(t.study, trace);
  REQUIRE(c.complete());
  CHECK(c.step.measured_us == 3);  // the slower rank
  double sum = 0;
  for (const ComparedRow& row : c.kinds) sum += row.measured_us;
  CHECK(sum == Approx(2.0 * static_cast<double>(c.matched)));
}

TEST_CASE("run trace: memory is that of the states and of the tensors alive", "[runtime]") {
  TinyTraining t(tiny_llama(), true);
  const RunTrace trace = traced(t);
  const int64_t states = trace.ops.back().memory_bytes;  // no tensor outlives the optimizer
  int64_t weights = 0;
  for (const OptimizerShare& s : t.plan.classes[0].shares) weights += s.elements;
  // FP32: weights, what kernels read, gradients; master weights, two moments, reduced gradients.
  CHECK(states == Approx(7.0 * 4 * static_cast<double>(weights)).epsilon(0.01));
  int64_t most = 0;
  for (const RunTraceOp& o : trace.ops) {
    CHECK(o.memory_bytes >= states);
    most = std::max(most, o.memory_bytes);
  }
  // The logits of 4 sequences of 16 tokens over 32 words are 8 KiB alone.
  CHECK(most - states > 8192);
}

TEST_CASE("run trace: a run beside itself differs in nothing", "[runtime]") {
  TinyTraining t(tiny_moe_training({.data = 2, .expert = 2}), true);
  const RunTrace trace = traced(t);
  const RunComparison c = compare_runs({"a", trace}, {"b", trace});
  CHECK(c.matched * 2 == static_cast<int64_t>(trace.ops.size()));
  for (const ComparedRow& row : c.kinds) CHECK(row.miss_us() == 0);
  CHECK(c.sides.predicted.hidden_us == c.sides.measured.hidden_us);
  CHECK(c.sides.memory[0].mean_error == 0);
}

TEST_CASE("run trace: the processes' parts become one file", "[runtime]") {
  const TemporaryDirectory dir;
  TinyTraining t(tiny_moe_training({.data = 2}), true);
  const RunTrace whole = traced(t);
  RunTrace mine = whole, other = whole;
  std::erase_if(mine.ops, [](const RunTraceOp& o) { return o.rank != 0; });
  std::erase_if(other.ops, [](const RunTraceOp& o) { return o.rank != 1; });
  testing::write(dir.file("t.json.rank1"), run_trace_json(other));
  write_trace(dir.file("t.json"), mine, t.plan, t.executor);
  CHECK(read_run_trace(dir.file("t.json")).ops.size() == whole.ops.size());
  CHECK_FALSE(std::filesystem::exists(dir.file("t.json.rank1")));
}

}  // namespace
}  // namespace orrery
