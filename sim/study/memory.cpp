#include "sim/study/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "sim/exec/sim_regions.h"
#include "sim/study/predict.h"

namespace orrery {
namespace {

class Replay {
 public:
  Replay(const ExecPlan& plan, std::size_t rank_class, const AllocatorOptions& options)
      : plan_(plan), class_(plan.classes[rank_class]), allocator_(options) {
    for (const StageGraph& g : plan.stages) stride_ = std::max(stride_, g.tensors.size());
    const auto rows = static_cast<std::size_t>(class_.slots()) + 1;  // the last: the optimizer's
    handles_.resize(rows * stride_);
    readers_left_.resize(rows * stride_);
  }

  AllocatorStats run(const std::vector<CallRegion>& regions, int32_t slots) {
    for (Bytes b : class_.static_bytes)
      if (b > Bytes(0)) allocator_.allocate(b, 0);
    const auto n = static_cast<uint32_t>(class_.calls.size());
    auto region = regions.begin();
    for (uint32_t i = 0; i < n; ++i) {
      while (region != regions.end() && i >= region->end) ++region;
      if (region != regions.end() && i >= region->begin &&
          (i - region->begin) % region->period == 0 && moves_all_chunks(*region))
        i += skip(*region, i, slots);
      if (i < n) call(class_.calls[i]);
    }
    return allocator_.stats();
  }

 private:
  // Whether a period takes every chunk further in both directions, so that all that is held moves
  // along.
  bool moves_all_chunks(const CallRegion& r) const {
    std::vector<bool> moved(2 * class_.stage_of_chunk.size());
    const auto move = [&](int32_t slot, std::size_t direction) {
      if (slot >= 0)
        moved[2 * static_cast<std::size_t>(slot / class_.slots_per_chunk) + direction] = true;
    };
    for (uint32_t i = r.begin; i < r.begin + r.period; ++i)
      move(class_.calls[i].forward_slot, 0), move(class_.calls[i].backward_slot, 1);
    return std::find(moved.begin(), moved.end(), false) == moved.end();
  }

  // Calls to leave out at the start of a period: whole periods, all but the last.
  uint32_t skip(const CallRegion& r, uint32_t i, int32_t slots) {
    const AllocatorStats& s = allocator_.stats();
    const std::pair<Bytes, Bytes> now{s.allocated, s.reserved};
    const bool steady = i > r.begin && now == last_;
    equal_ = steady ? equal_ + 1 : 0;
    last_ = now;
    if (equal_ < 2) return 0;
    equal_ = 0;
    const uint32_t periods = (r.end - i) / r.period;
    if (periods < 2) return 0;
    skipped_slots_ += static_cast<int32_t>(periods - 1) * slots;
    return (periods - 1) * r.period;
  }

  void call(const Call& c) {
    const Block& b = class_.blocks[c.block];
    for (const Instr& i : b.instrs) {
      if (i.kind != Instr::Kind::kAlloc && i.kind != Instr::Kind::kFree) continue;
      const bool forward = i.role == Role::kForward;
      const int slot = forward ? c.forward_slot : c.backward_slot;
      const int stage = forward ? b.forward_stage : b.backward_stage;
      const auto row = static_cast<std::size_t>(slot < 0 ? class_.slots() : slot - skipped_slots_);
      const Tensor& t = plan_.stages[static_cast<std::size_t>(stage)].tensors[i.arg];
      if (t.kind == BufferKind::kHost) continue;
      const std::size_t at = row * stride_ + i.arg;
      if (i.kind == Instr::Kind::kAlloc) {
        handles_[at] = allocator_.allocate(t.bytes, pool_stream(i.stream));
        readers_left_[at] = t.readers;
      } else if (t.readers <= 1 || --readers_left_[at] == 0) {
        allocator_.free(handles_[at]);
      }
    }
  }

  // Results of tensor- and context-parallel collectives come from the stream that asks for them
  // (torch/csrc/distributed/c10d/Functional.cpp); NCCL's own stream allocates nothing.
  static int pool_stream(StreamKind s) {
    return static_cast<int>(s == StreamKind::kTensor ? StreamKind::kCompute : s);
  }

  const ExecPlan& plan_;
  const RankClass& class_;
  CachingAllocator allocator_;
  std::size_t stride_ = 0;
  std::vector<uint32_t> handles_;
  std::vector<uint8_t> readers_left_;
  int32_t skipped_slots_ = 0;
  std::pair<Bytes, Bytes> last_;
  int equal_ = 0;
};

std::pair<Bytes, Picos> peak_of(const StudySpec& s) {
  const CompiledStudy c = compile_study(s);
  const StepTrace t = simulate(c.plan, c.timing, sim_options(s));
  Bytes peak;
  for (const ClassMemory& m : t.memory) peak = std::max(peak, m.peak);
  return {peak, t.step};
}

// Layers over `stages`, the earlier ones fuller.
std::vector<int64_t> even_split(int64_t layers, int64_t stages) {
  std::vector<int64_t> split;
  for (int64_t s = 0; s < stages; ++s)
    split.push_back(layers / stages + (s < layers % stages ? 1 : 0));
  return split;
}

std::string bracketed(const std::vector<int64_t>& v) {
  std::string out;
  for (int64_t x : v) out += fmt::format("{}{}", out.empty() ? "" : ",", x);
  return "[" + out + "]";
}

struct Change {
  std::string text;
  PlanSpec plan;
};

std::vector<Change> changes(const StudySpec& s) {
  std::vector<Change> out;
  const auto add = [&](std::string text, const std::function<void(PlanSpec&)>& change) {
    Change c{std::move(text), s.plan};
    change(c.plan);
    out.push_back(std::move(c));
  };
  const Recompute& r = s.plan.recompute;
  if (!r.norms && r.full == FullRecompute::kNone)
    add("--set /plan/recompute/norms=true", [](PlanSpec& p) { p.recompute.norms = true; });
  if (!r.swiglu && r.full == FullRecompute::kNone)
    add("--set /plan/recompute/swiglu=true", [](PlanSpec& p) { p.recompute.swiglu = true; });
  if (!r.mla_up && r.full == FullRecompute::kNone && s.model.attention == AttentionKind::kMla)
    add("--set /plan/recompute/mla_up=true", [](PlanSpec& p) { p.recompute.mla_up = true; });
  if (r.full == FullRecompute::kNone && !r.attention)
    add("--set /plan/recompute/attention=true", [](PlanSpec& p) { p.recompute.attention = true; });
  if (r.full == FullRecompute::kNone)
    add("--set /plan/recompute={\"full\":\"uniform\"}", [](PlanSpec& p) {
      p.recompute = {};
      p.recompute.full = FullRecompute::kUniform;
    });
  if (!s.plan.offload_activations)
    add("--set /plan/offload_activations={}", [](PlanSpec& p) { p.offload_activations.emplace(); });
  if (s.plan.dp.zero_stage == 0)
    add("--set /plan/zero_stage=1", [](PlanSpec& p) { p.dp.zero_stage = 1; });
  if (const int64_t m = s.plan.micro_batch; m > 1 && m % 2 == 0)
    add(fmt::format("--set /plan/micro_batch={}", m / 2), [](PlanSpec& p) { p.micro_batch /= 2; });
  if (s.model.experts > 0)
    add(fmt::format("--set /plan/expert_parallel={}", 2 * s.plan.expert_parallel),
        [](PlanSpec& p) { p.expert_parallel *= 2; });
  if (s.plan.data_parallel % 2 != 0) return out;
  const std::vector<int64_t> split =
      even_split(s.model.layers, 2 * static_cast<int64_t>(s.plan.layers_per_stage.size()));
  add(fmt::format("--set /plan/pipeline_parallel={} --set /plan/data_parallel={} "
                  "--set /plan/layers_per_stage={}",
                  2 * s.plan.pipeline_parallel, s.plan.data_parallel / 2, bracketed(split)),
      [&](PlanSpec& p) {
        p.pipeline_parallel *= 2;
        p.data_parallel /= 2;
        p.layers_per_stage = split;
      });
  return out;
}

}  // namespace

AllocatorStats replay_allocator(const ExecPlan& plan, std::size_t rank_class,
                                const AllocatorOptions& options) {
  const CallRegions regions = find_regions(plan);
  return Replay(plan, rank_class, options).run(regions.of_class[rank_class], regions.slots);
}

MemoryVerdict memory_verdict(const StudySpec& study, const StepTrace& trace) {
  MemoryVerdict v;
  for (std::size_t c = 0; c < trace.memory.size(); ++c)
    if (trace.memory[c].peak > v.peak) v.peak = trace.memory[c].peak, v.rank_class = c;
  v.outside = from_gib(study.stack.reserved_GiB.value);
  v.capacity = from_gib(study.cluster.node.memory_per_rank_GiB());
  return v;
}

void replay_allocators(MemoryVerdict& v, const ExecPlan& plan) {
  AllocatorOptions options;
  options.capacity = v.capacity - v.outside;
  v.allocator = replay_allocator(plan, v.rank_class, options);
  options.expandable_segments = true;
  v.expandable = replay_allocator(plan, v.rank_class, options);
}

std::vector<MemoryAdvice> memory_advice(const StudySpec& study, Bytes peak) {
  std::vector<MemoryAdvice> out;
  for (Change& c : changes(study)) {
    StudySpec changed = study;
    changed.plan = std::move(c.plan);
    if (!check_plan(changed.plan, changed.model, changed.cluster).empty()) continue;
    try {
      const auto [then, step] = peak_of(changed);
      if (then < peak) out.push_back({std::move(c.text), then, step});
    } catch (const Error&) {
      continue;  // a change that the plan does not take is no advice
    }
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const MemoryAdvice& a, const MemoryAdvice& b) { return a.peak < b.peak; });
  return out;
}

}  // namespace orrery
