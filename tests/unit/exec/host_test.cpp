// The CPU that launches kernels: what it takes, where it waits, and that no shortcut of the
// simulator changes what comes out.
#include <fmt/format.h>

#include "sim/exec/sim_backend.h"
#include "sim/exec/sim_host.h"
#include "sim/exec/sim_host_costs.h"
#include "sim/report/text.h"
#include "sim/schedule/compile_plan.h"
#include "sim/study/analytic.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"
#include "tests/unit/exec/same_trace.h"

using namespace orrery;

namespace {

Sourced us(double value) { return {value, Source::kAssumed, "a test", "2026", ""}; }

// Forward 20, 16, 12 and 8 us, backward twice that; 2 us a kernel, 10 an expert.
HostSpec host(double scale, double counts_wait_us, HostGraphs graphs = HostGraphs::kNone) {
  HostSpec h;
  h.scale = us(scale), h.kernel_us = us(2), h.expert_us = us(10);
  h.forward_us = {us(20), us(16), us(12), us(8)};
  h.backward_us = {us(40), us(32), us(24), us(16)};
  h.counts_wait_us = us(counts_wait_us);
  h.graphs = graphs;
  return h;
}

StudySpec hosted(const HostSpec& h, const std::vector<std::string>& overrides = {}) {
  StudySpec s = small_cluster(overrides);
  s.stack.host = h;
  return s;
}

StepTrace step(const StudySpec& s, bool fast_forward, Folding folding = Folding::kFolded) {
  const CompiledStudy c = compile_study(s);
  SimOptions o = sim_options(s);
  o.fast_forward = fast_forward;
  o.folding = folding;
  return simulate(c.plan, c.timing, o);
}

Picos waits(const StepTrace& t) {
  Picos sum;
  for (const ClassTime& c : t.time)
    for (const Picos w : c.host) sum += w;
  return sum;
}

const Op& named(const StageGraph& g, std::string_view name) {
  for (const Op& o : g.ops)
    if (o.name == name) return o;
  FAIL("no op " << name);
  return g.ops[0];
}

double issue_us(const CompiledStudy& c, const StudySpec& s, std::size_t stage,
                std::string_view name) {
  const StageGraph& g = c.plan.stages[stage];
  const auto op = static_cast<uint32_t>(&named(g, name) - g.ops.data());
  return 1e6 * seconds(host_cost(g, op, c.graph, s.cluster.node).issue);
}

}  // namespace

TEST_CASE("A launch is issued a fixed time after what the CPU waited for last", "[exec]") {
  // A block of launches that take 1, 2 and 4 us, and a wait for the second; called twice.
  RankClass c{};
  Block b{};
  for (uint32_t op = 0; op < 3; ++op)
    b.instrs.push_back({Instr::Kind::kLaunch, StreamKind::kCompute, Role::kBlock, 0, op});
  c.blocks = {b};
  c.calls = {{0, 0, -1}, {0, 1, -1}};
  std::vector<OpTiming> ops(3);
  for (int i = 0; i < 3; ++i) ops[static_cast<std::size_t>(i)].host = from_micros(1 << i);
  ops[1].read_back = from_micros(5);
  const HostProgram h(c, PlanTiming(ops));
  const auto check = [&](uint32_t call, uint32_t launch, uint32_t read_backs, double micros) {
    const HostProgram::Issue i = h.at(call, 0, launch);
    CHECK(i.read_backs == read_backs);
    CHECK(i.time == from_micros(micros));
  };
  check(0, 0, 0, 1);  // after the start of the step
  check(0, 1, 0, 3);
  check(0, 2, 1, 4);  // after the wait
  check(1, 0, 1, 5);  // 4 + 1
  check(1, 1, 1, 7);
  check(1, 2, 2, 4);
  CHECK(h.before(2).read_backs == 2);
  CHECK(h.before(2).time == from_micros(4));
}

TEST_CASE("Host time of ops by hand", "[exec]") {
  // 16 experts over 4 ranks. Stage 1 has layers with experts only.
  const StudySpec s = hosted(host(2, 5), {"/model/n_routed_experts=16", "/plan/precision=bf16"});
  const CompiledStudy c = compile_study(s);
  const auto at = [&](std::string_view name) { return issue_us(c, s, 1, name); };
  CHECK(at("ffn_norm") == Approx(2 * 16));
  CHECK(at("router fwd") == Approx(2 * 20));
  // Four experts: 10 us each beside the module's 20 x 2.
  CHECK(at("experts down fwd") == Approx(2 * 20 + 4 * 10));
  CHECK(at("experts down dgrad") == Approx(2 * 40 / 2 + 4 * 10));
  CHECK(at("experts down wgrad") == Approx(2 * 40 / 2 + 4 * 10));
  CHECK(at("experts swiglu") == Approx(2 * 12));
  CHECK(at("unpermute tokens") == Approx(2 * 8));
  CHECK(at("combine tokens notify") == Approx(2));
  StudySpec slow = s;
  slow.cluster.node.host_slowdown.value = 1.5;
  CHECK(issue_us(c, slow, 1, "ffn_norm") == Approx(48));
}

TEST_CASE("What a CUDA graph holds is launched once", "[exec]") {
  const auto total = [](HostGraphs graphs, SegmentKind segment) {
    const StudySpec s = hosted(host(1, 0, graphs), {"/plan/precision=bf16"});
    const CompiledStudy c = compile_study(s);
    const StageGraph& g = c.plan.stages[1];
    Picos sum;
    for (uint32_t i = 0; i < g.ops.size(); ++i)
      if (g.ops[i].segment == segment && g.ops[i].unit == 0)
        sum += host_cost(g, i, c.graph, s.cluster.node).issue;
    return 1e6 * seconds(sum);
  };
  const double eager = total(HostGraphs::kNone, SegmentKind::kAttnF);
  const double router = total(HostGraphs::kRouter, SegmentKind::kAttnF);
  const double attention = total(HostGraphs::kAttention, SegmentKind::kAttnF);
  // One launch of 20 us in place of the norm (16), the router's product (20) and its top-k (8, and
  // 2 for each kernel but the first).
  const double kernels = small_cluster().stack.router_forward.kernels.value;
  const double routing = 16 + 20 + 8 + 2 * (kernels - 1);
  CHECK(eager - router == Approx(routing - 20));
  CHECK(attention == Approx(20 + routing));
  CHECK(total(HostGraphs::kAttentionAndRouter, SegmentKind::kAttnF) == Approx(20));
  CHECK(total(HostGraphs::kAttentionAndRouter, SegmentKind::kAttnB) == Approx(40));
  CHECK(total(HostGraphs::kIteration, SegmentKind::kMlpF) == 0);
}

TEST_CASE("Graphs of whole iterations leave no trace of a host", "[exec]") {
  StudySpec none = small_cluster();
  none.stack.host_issue_us.value = 0;
  check_same(step(hosted(host(1, 5, HostGraphs::kIteration)), true), step(none, true));
}

TEST_CASE("A CPU that reads token counts cannot run ahead of its GPU", "[exec]") {
  const StepTrace none = step(hosted(host(1, 0, HostGraphs::kIteration)), true);
  const StepTrace ahead = step(hosted(host(0.1, 0)), true);
  const StepTrace reads = step(hosted(host(0.1, 20)), true);
  CHECK(ahead.step >= none.step);
  CHECK(reads.step > ahead.step);
  CHECK(waits(reads) > waits(ahead));
  // Slower than the GPU throughout: the step is what the CPU of the slowest rank takes, at least.
  const StudySpec s = hosted(host(20, 0));
  const CompiledStudy c = compile_study(s);
  Picos longest;
  for (const RankClass& r : c.plan.classes) {
    const HostProgram h(r, c.timing);
    longest = std::max(longest, h.before(static_cast<uint32_t>(r.calls.size())).time);
  }
  CHECK(step(s, true).step >= longest);
}

TEST_CASE("The analytic tier bounds a step with a host from below", "[exec]") {
  for (const double scale : {0.1, 1.0, 10.0}) {
    const StudySpec s = hosted(host(scale, 10));
    CHECK(analytic_step(s).step_s <= seconds(step(s, true).step));
  }
}

TEST_CASE("With a host fast-forward and folding change no number of the result", "[exec]") {
  for (const std::string_view schedule : kScheduleNames) {
    const bool chunks =
        schedule == "interleaved_1f1b" || schedule == "zb_v" || schedule == "dualpipe_v";
    const bool pairs = schedule.starts_with("dualpipe");
    for (const double scale : {0.1, 1.0, 10.0})
      for (const double wait : {0.0, 10.0}) {
        const StudySpec s = hosted(
            host(scale, wait),
            {fmt::format("/plan/schedule={}", schedule), "/plan/global_batch=96",
             "/model/num_hidden_layers=8", fmt::format("/plan/virtual_pipeline={}", chunks ? 2 : 1),
             fmt::format("/plan/layers_per_stage={}", chunks ? "[1,1,1,1,1,1,1,1]" : "[2,2,2,2]"),
             fmt::format("/plan/overlap_expert_parallel={}", pairs)});
        CAPTURE(schedule, scale, wait);
        check_same(step(s, true), step(s, false));
      }
  }
  for (const double wait : {0.0, 10.0}) {
    const StudySpec s = hosted(host(1, wait), {"/plan/global_batch=256"});
    const StepTrace folded = step(s, true), unfolded = step(s, true, Folding::kUnfolded);
    CAPTURE(wait);
    CHECK(unfolded.step == folded.step);
    CHECK(waits(unfolded) == waits(folded));
    check_same(unfolded, step(s, false, Folding::kUnfolded));
  }
}

TEST_CASE("A step that waits for its host repeats, and is skipped", "[exec]") {
  for (const double scale : {1.0, 20.0})
    for (const double wait : {0.0, 10.0}) {
      const StudySpec s =
          hosted(host(scale, wait), {"/plan/global_batch=1024", "/plan/schedule=1f1b"});
      const StepTrace t = step(s, true);
      CAPTURE(scale, wait, t.events);
      CHECK(t.skipped_events > t.events / 2);
    }
}

TEST_CASE("The report names the time that GPUs wait for their hosts", "[exec]") {
  PredictOptions o;
  o.allow_oom = true;
  const Prediction p = predict(hosted(host(20, 10)), o);
  for (std::size_t i = 0; i < p.per_rank.size(); ++i) {
    const Breakdown& b = p.per_rank[i];
    CHECK(b.host > Picos(0));
    CHECK(b.forward + b.backward + b.backward_input + b.weight + b.overlapped_pairs + b.bubble +
              b.optimizer ==
          p.trace.step);
  }
  CHECK(contains(text_report(p), "of which waiting for the host to launch"));
  REQUIRE_FALSE(p.warnings.empty());
  CHECK(contains(p.warnings.back(), "CPU-bound: compute kernels wait"));
}

TEST_CASE("A stack's host is read, and its graphs are named", "[exec]") {
  const std::string root = kSourceDir;
  const StudySpec s = load_study(
      root + "/experiments/validation/megatron-bridge-moe/26_04_qwen3_30b_gb200_mxfp8.json", {},
      root);
  REQUIRE(s.stack.host);
  CHECK(s.stack.host->graphs == HostGraphs::kRouter);
  CHECK(s.stack.host->counts_wait_us.value > 0);
  CHECK(s.cluster.node.host_slowdown.value > 1);
  CHECK(contains(error_of([&] {
                   load_study(root +
                                  "/experiments/validation/megatron-bridge-moe/"
                                  "26_04_qwen3_30b_gb200_mxfp8.json",
                              {"/stack/host/graphs=attn"}, root);
                 }),
                 "attention_and_router"));
}
