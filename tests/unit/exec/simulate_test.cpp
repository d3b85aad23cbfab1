#include <algorithm>
#include <map>

#include "sim/exec/sim_backend.h"
#include "sim/exec/verify_backend.h"
#include "sim/schedule/compile_plan.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

Prediction run(const StudySpec& s, Folding folding = Folding::kFolded, bool record = false) {
  PredictOptions o;
  o.folding = folding;
  o.record = record;
  o.allow_oom = true;
  return predict(s, o);
}

Picos sum(const Breakdown& b) {
  return b.forward + b.backward + b.backward_input + b.weight + b.overlapped_pairs + b.bubble +
         b.optimizer;
}

}  // namespace

TEST_CASE("Folded and unfolded simulation agree bit for bit", "[exec]") {
  for (const char* schedule : {"/plan/schedule=dualpipe", "/plan/schedule=1f1b"}) {
    const StudySpec s = small_cluster({schedule});
    const Prediction folded = run(s), unfolded = run(s, Folding::kUnfolded);
    CAPTURE(schedule);
    CHECK(folded.trace.step == unfolded.trace.step);
    REQUIRE(folded.per_rank.size() == unfolded.per_rank.size());
    for (std::size_t i = 0; i < folded.per_rank.size(); ++i) {
      CHECK(sum(folded.per_rank[i]) == sum(unfolded.per_rank[i]));
      CHECK(folded.per_rank[i].bubble == unfolded.per_rank[i].bubble);
      CHECK(folded.trace.memory[i].peak == unfolded.trace.memory[i].peak);
    }
    CHECK(unfolded.trace.events > folded.trace.events);
  }
}

TEST_CASE("Folding is exact with tensor, context and expert-tensor groups", "[exec]") {
  // 4 stages of 4 GPUs each.
  const std::string tp = "/plan/tensor_parallel=2", sp = "/plan/sequence_parallel=true";
  const std::string cp = "/plan/context_parallel=2", dp2 = "/plan/data_parallel=2";
  const std::vector<std::vector<std::string>> layouts = {
      {tp, sp, dp2},
      {tp, sp, dp2, "/plan/overlap_tensor_parallel=true"},
      {tp, sp, dp2, "/plan/expert_parallel=2", "/plan/expert_tensor_parallel=2"},
      {cp, dp2},
      {cp, dp2, "/plan/context_parallel_kind=all_to_all"},
      {tp, sp, cp, "/plan/data_parallel=1"}};
  for (const auto& layout : layouts) {
    CAPTURE(layout);
    const StudySpec s = small_cluster(layout);
    const Prediction folded = run(s), unfolded = run(s, Folding::kUnfolded);
    CHECK(folded.trace.step == unfolded.trace.step);
    for (std::size_t i = 0; i < folded.per_rank.size(); ++i)
      CHECK(folded.trace.memory[i].peak == unfolded.trace.memory[i].peak);
  }
}

TEST_CASE("Pipelined rows hide collectives of large products", "[exec]") {
  const std::vector<std::string> plain = {"/plan/tensor_parallel=2", "/plan/sequence_parallel=true",
                                          "/plan/data_parallel=2", "/plan/sequence_length=4096"};
  std::vector<std::string> pipelined = plain;
  pipelined.push_back("/plan/overlap_tensor_parallel=true");
  const Prediction a = run(small_cluster(plain)), b = run(small_cluster(pipelined));
  const auto tensor = static_cast<std::size_t>(KernelClass::kCommTensor);
  CHECK(a.breakdown.exposed[tensor] > Picos(0));
  CHECK(b.breakdown.exposed[tensor] < a.breakdown.exposed[tensor]);
}

TEST_CASE("Every rank's breakdown sums to the step", "[exec]") {
  const Prediction p = run(small_cluster());
  for (const Breakdown& b : p.per_rank) CHECK(sum(b) == p.trace.step);
  CHECK(sum(p.breakdown) == p.trace.step);
}

TEST_CASE("Two runs give the same records, and a track's slices never overlap", "[exec]") {
  const Prediction a = run(small_cluster(), Folding::kFolded, true);
  const Prediction b = run(small_cluster(), Folding::kFolded, true);
  REQUIRE(a.trace.records.size() == b.trace.records.size());
  std::map<std::pair<int, int>, Picos> end;
  for (std::size_t i = 0; i < a.trace.records.size(); ++i) {
    const OpRecord& r = a.trace.records[i];
    REQUIRE((r.start == b.trace.records[i].start && r.op == b.trace.records[i].op));
    Picos& last = end[{r.rank_class, static_cast<int>(r.stream)}];
    REQUIRE(r.start >= last);
    last = r.end;
  }
}

TEST_CASE("Faster hardware is never slower", "[exec]") {
  const double base = run(small_cluster()).step_time_s;
  CHECK(run(small_cluster({"/cluster/node/gpu/hbm_bandwidth_GBps=6000"})).step_time_s < base);
  CHECK(run(small_cluster({"/cluster/node/gpu/fp8_dense_TFLOPS=4000"})).step_time_s < base);
  CHECK(run(small_cluster({"/cluster/node/nvlink_effective_GBps=190"})).step_time_s <= base);
}

TEST_CASE("DualPipe beats 1F1B on the published layout", "[exec]") {
  CHECK(run(deepseek()).step_time_s < run(deepseek({"/plan/schedule=1f1b"})).step_time_s);
}

TEST_CASE("DeepSeek-V3's plan is sound, and the verifier sees what breaks it", "[exec]") {
  const StudySpec s = small_cluster();
  const GraphConfig c{s.model, s.plan, s.stack, s.cluster.node.gpus};
  const ExecPlan plan = compile_plan(c);
  CHECK(verify(plan).empty());

  const auto first = [](Block& b, Instr::Kind k) {
    return std::find_if(b.instrs.begin(), b.instrs.end(),
                        [k](const Instr& i) { return i.kind == k; });
  };
  const auto mentions = [](const std::vector<std::string>& findings, const std::string& text) {
    return std::any_of(findings.begin(), findings.end(),
                       [&](const std::string& f) { return f.find(text) != std::string::npos; });
  };
  SECTION("a lost micro-batch deadlocks its peers") {
    ExecPlan broken = plan;
    auto& calls = broken.classes[1].calls;
    calls.erase(calls.begin() + 1);
    CHECK(mentions(verify(broken), "deadlock"));
  }
  SECTION("a lost free leaks") {
    ExecPlan broken = plan;
    for (Block& b : broken.classes[0].blocks)
      if (b.kind == BlockKind::kForward) b.instrs.erase(first(b, Instr::Kind::kFree));
    CHECK(mentions(verify(broken), "never freed"));
  }
  SECTION("an early free is a use after free") {
    ExecPlan broken = plan;
    for (Block& b : broken.classes[0].blocks) {
      if (b.kind != BlockKind::kForward) continue;
      const Instr alloc = *first(b, Instr::Kind::kAlloc);
      Instr early = alloc;
      early.kind = Instr::Kind::kFree;
      b.instrs.insert(first(b, Instr::Kind::kAlloc) + 1, early);
    }
    CHECK(mentions(verify(broken), "after it is freed"));
  }
  SECTION("lost events deadlock") {
    ExecPlan broken = plan;
    for (Block& b : broken.classes[0].blocks)
      if (b.kind == BlockKind::kForward)
        std::erase_if(b.instrs, [](const Instr& i) { return i.kind == Instr::Kind::kRecord; });
    CHECK(mentions(verify(broken), "deadlock"));
  }
}

TEST_CASE("A plan that does not fit says which rank, where and why", "[exec]") {
  PredictOptions o;
  try {
    predict(deepseek({"/cluster/node/gpu/hbm_capacity_GiB=40"}), o);
    FAIL("fits in 40 GiB");
  } catch (const Infeasible& e) {
    const std::string text = e.what();
    CHECK(text.find("out of memory: pipeline rank") != std::string::npos);
    CHECK(text.find("activations") != std::string::npos);
  }
}
