#include "sim/study/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "sim/schedule/compile_plan.h"
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

// The sum of what the class's program holds at most, in program order, tensors rounded to 512
// bytes.
Bytes held_in_program_order(const ExecPlan& plan, std::size_t rank_class) {
  const RankClass& c = plan.classes[rank_class];
  Bytes held, peak;
  for (Bytes b : c.static_bytes) held += Bytes((b.count() + 511) / 512 * 512);
  std::map<std::pair<int, uint32_t>, int> left;
  for (const Call& call : c.calls)
    for (const Instr& i : c.blocks[call.block].instrs) {
      if (i.kind != Instr::Kind::kAlloc && i.kind != Instr::Kind::kFree) continue;
      const Block& b = c.blocks[call.block];
      const bool forward = i.role == Role::kForward;
      const int slot = forward ? call.forward_slot : call.backward_slot;
      const auto stage = static_cast<std::size_t>(forward ? b.forward_stage : b.backward_stage);
      const Tensor& t = plan.stages[stage].tensors[i.arg];
      const Bytes bytes((std::max<int64_t>(512, t.bytes.count()) + 511) / 512 * 512);
      int& readers = left[{slot, i.arg}];
      if (i.kind == Instr::Kind::kAlloc) {
        readers = t.readers;
        held += bytes;
        peak = std::max(peak, held);
      } else if (t.readers <= 1 || --readers == 0) {
        held -= bytes;
      }
    }
  return peak;
}

}  // namespace

TEST_CASE("The replayed allocator holds what the program holds, and reserves no less", "[study]") {
  for (const std::string_view schedule : kScheduleNames) {
    const bool pairs = schedule.starts_with("dualpipe");
    const bool chunks =
        schedule == "interleaved_1f1b" || schedule == "zb_v" || schedule == "dualpipe_v";
    const StudySpec s = small_cluster(
        {fmt::format("/plan/schedule={}", schedule), "/plan/global_batch=256",
         "/model/num_hidden_layers=8", fmt::format("/plan/virtual_pipeline={}", chunks ? 2 : 1),
         fmt::format("/plan/layers_per_stage={}", chunks ? "[1,1,1,1,1,1,1,1]" : "[2,2,2,2]"),
         fmt::format("/plan/overlap_expert_parallel={}", pairs)});
    const ExecPlan plan = compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
    for (std::size_t c = 0; c < plan.classes.size(); ++c) {
      const AllocatorStats classic = replay_allocator(plan, c, {});
      AllocatorOptions expandable;
      expandable.expandable_segments = true;
      const AllocatorStats grown = replay_allocator(plan, c, expandable);
      const Bytes held = held_in_program_order(plan, c);
      CAPTURE(schedule, c);
      // Blocks are a little larger than tensors: up to 1 MiB is not split off.
      CHECK(classic.peak_allocated >= held);
      CHECK(gib(classic.peak_allocated) < 1.05 * gib(held) + 0.1);
      CHECK(grown.peak_allocated == held);
      CHECK(classic.peak_allocated <= classic.peak_reserved);
      CHECK(grown.peak_allocated <= grown.peak_reserved);
      CHECK(classic.fragmentation >= 0);
      CHECK(classic.fragmentation < 1);
    }
  }
}

TEST_CASE("Leaving out periods does not change what the allocator reserves", "[study]") {
  // Twice the micro-batches pass through the same states.
  const auto reserved = [](const char* batches) {
    const StudySpec s = small_cluster({"/plan/schedule=1f1b", batches});
    const ExecPlan plan = compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
    return replay_allocator(plan, 1, {}).peak_reserved;
  };
  CHECK(reserved("/plan/global_batch=256") == reserved("/plan/global_batch=512"));
}

TEST_CASE("Advice lowers the peak by what a simulation of it says", "[study]") {
  // Few experts and long sequences: activations decide.
  const std::vector<std::string> base = {
      "/model/n_routed_experts=16", "/model/n_group=4",
      "/model/topk_group=2",        "/model/num_experts_per_tok=4",
      "/plan/sequence_length=8192", "/plan/micro_batch=2",
      "/plan/schedule=1f1b",        "/plan/overlap_expert_parallel=false",
      "/plan/recompute/norms=false"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return small_cluster(more);
  };
  const StudySpec s = with({"/plan/recompute/swiglu=false"});
  PredictOptions o;
  o.allow_oom = true;
  const Bytes peak = predict(s, o).verdict.peak;
  const std::vector<MemoryAdvice> advice = memory_advice(s, peak);
  REQUIRE(advice.size() >= 2);
  for (const MemoryAdvice& a : advice) CHECK(a.peak < peak);
  CHECK(std::is_sorted(advice.begin(), advice.end(),
                       [](const auto& x, const auto& y) { return x.peak < y.peak; }));
  const auto smaller = std::find_if(advice.begin(), advice.end(), [](const MemoryAdvice& a) {
    return contains(a.change, "micro_batch=1");
  });
  REQUIRE(smaller != advice.end());
  const StudySpec changed = with({"/plan/recompute/swiglu=false", "/plan/micro_batch=1"});
  CHECK(predict(changed, o).verdict.peak == smaller->peak);
}
