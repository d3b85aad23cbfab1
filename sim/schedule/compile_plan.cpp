#include "sim/schedule/compile_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "sim/graph/optimizer.h"
#include "sim/schedule/block_order.h"
#include "sim/schedule/communicators.h"
#include "sim/schedule/offload_order.h"
#include "sim/schedule/optimizer_shares.h"
#include "sim/schedule/schedule.h"

namespace orrery {
namespace {

// Whether a block of one stage has the instructions of the other's: of all that BlockEmitter and
// the orders look at, only the layers' numbers may differ.
bool emit_alike(const StageGraph& a, const StageGraph& b) {
  const auto same = [](const auto& x, const auto& y, auto equal) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), equal);
  };
  return a.units == b.units && a.recompute_from == b.recompute_from && a.act_in == b.act_in &&
         a.act_out == b.act_out && a.grad_in == b.grad_in && a.grad_out == b.grad_out &&
         a.operands == b.operands &&
         same(a.ops, b.ops,
              [](const Op& x, const Op& y) {
                return x.kind == y.kind && x.phase == y.phase && x.segment == y.segment &&
                       x.stream == y.stream && x.comm == y.comm && x.again == y.again &&
                       x.unit == y.unit && x.weights == y.weights && x.grad == y.grad &&
                       x.keeps == y.keeps && x.first_operand == y.first_operand &&
                       x.inputs == y.inputs && x.outputs == y.outputs;
              }) &&
         same(a.tensors, b.tensors,
              [](const Tensor& x, const Tensor& y) {
                return x.written == y.written && x.readers == y.readers && x.is_read == y.is_read &&
                       x.last_use == y.last_use;
              }) &&
         same(a.segments, b.segments, [](const Segment& x, const Segment& y) {
           return x.kind == y.kind && x.unit == y.unit && x.first_op == y.first_op &&
                  x.end_op == y.end_op;
         });
}

class PlanCompiler {
 public:
  // `needed`: the stages whose graphs are built; empty: all.
  explicit PlanCompiler(const GraphConfig& config, const std::vector<int>& needed = {})
      : config_(config), at_{config_, plan_, {}} {
    for (int64_t s = 0; s < config.plan.stages(); ++s) {
      const bool build =
          needed.empty() || std::find(needed.begin(), needed.end(), s) != needed.end();
      plan_.stages.push_back(build ? build_stage(config, s) : StageGraph{});
      const auto like =
          std::find_if(plan_.stages.begin(), plan_.stages.end() - 1,
                       [&](const StageGraph& g) { return emit_alike(g, plan_.stages.back()); });
      alike_.push_back(static_cast<int>(like - plan_.stages.begin()));
    }
    plan_.tensor_parallel = config.plan.tensor_parallel;
    plan_.context_parallel = config.plan.context_parallel;
    plan_.expert_parallel = config.plan.expert_parallel;
    plan_.expert_tensor_parallel = config.plan.expert_tensor_parallel;
    plan_.shard_group = std::max<int64_t>(1, config.plan.dp.shard_group);
    at_.embedding_copies = std::count_if(
        plan_.stages.begin(), plan_.stages.end(),
        [](const StageGraph& g) { return g.find_param(kEmbeddingParam, -1).valid(); });
  }

  ExecPlan compile() {
    const std::vector<RankSchedule> schedules = make_schedules(config_.plan, chunk_times());
    at_.copies.assign(plan_.stages.size(), 0);
    for (const RankSchedule& s : schedules)
      for (int stage : s.stage_of_chunk) ++at_.copies[static_cast<std::size_t>(stage)];
    std::vector<std::vector<int>> stages_of_class;
    for (const RankSchedule& s : schedules) stages_of_class.push_back(s.stage_of_chunk);
    group_weights(at_, stages_of_class, plan_.stages);
    for (std::size_t r = 0; r < schedules.size(); ++r)
      compile_class(static_cast<int>(r), schedules[r]);
    return std::move(plan_);
  }

  ExecPlan compile_pair(int forward_stage, int backward_stage, int calls) {
    RankSchedule both;
    both.stage_of_chunk = {forward_stage, backward_stage};
    both.first_batch_of_chunk = {0, 0};
    both.batches_per_chunk = 1;
    RankClass& c = begin_class(0, both);
    const auto first_op = plan_.ops.size();
    BlockEmitter e(plan_, BlockKind::kPair);
    add_pair(e, plan_, at(c, 0), at(c, 1), Transfers::kNone);
    c.blocks.push_back(e.finish());
    // Whole groups of every kind.
    c.multiplicity = std::lcm(config_.plan.expert_ranks(),
                              config_.plan.tensor_parallel * config_.plan.context_parallel);
    c.calls.assign(static_cast<std::size_t>(calls), {0, 0, 1});
    bind_communicators(at_, c, plan_.ops, first_op);
    return std::move(plan_);
  }

 private:
  // A schedule that plans with the time of each pass takes all stages for equal, and FLOPs for
  // time.
  ChunkTimes chunk_times() const {
    double flops[kPhases] = {};
    for (const StageGraph& g : plan_.stages)
      for (const Op& op : g.ops) flops[static_cast<std::size_t>(op.phase)] += op.work.flops.count();
    const auto time = [&](Phase p) {
      return std::max<int64_t>(1, std::llround(flops[static_cast<std::size_t>(p)] * 1e-6));
    };
    return {time(Phase::kForward), time(Phase::kBackward), time(Phase::kWeight)};
  }

  RankClass& begin_class(int rank, const RankSchedule& schedule) {
    RankClass c;
    c.name = fmt::format("PP rank {}", rank);
    c.multiplicity = config_.plan.stage_ranks();
    c.first_rank = rank * c.multiplicity;
    c.stage_of_chunk = schedule.stage_of_chunk;
    c.first_batch_of_chunk = schedule.first_batch_of_chunk;
    c.slots_per_chunk = schedule.batches_per_chunk;
    plan_.classes.push_back(std::move(c));
    return plan_.classes.back();
  }

  void compile_class(int rank, const RankSchedule& schedule) {
    RankClass& c = begin_class(rank, schedule);
    const auto first_op = plan_.ops.size();
    block_of_.clear();
    // Each transfer in is posted one step ahead, when the compute stream reaches the step before.
    for (std::size_t i = 0; i < schedule.steps.size(); ++i) {
      if (i == 0) call_recvs(c, schedule.steps[0]);
      const ScheduleStep* next = i + 1 < schedule.steps.size() ? &schedule.steps[i + 1] : nullptr;
      if (next != nullptr) call_recvs(c, *next);
      const bool reload = next != nullptr && reloads(c, *next);
      const bool ahead = reload && may_reload_before(c, schedule.steps[i], *next);
      if (ahead) call_reload(c, *next, true);
      call_step(c, schedule, i);
      if (reload && !ahead) call_reload(c, *next, false);
    }
    call_optimizer(c);
    bind_communicators(at_, c, plan_.ops, first_op);
  }

  StageAt at(const RankClass& c, int chunk) const {
    return {stage_of(c, chunk), chunk, lane_of_chunk(config_.plan.schedule, chunk)};
  }
  int slot(const RankClass& c, int chunk, int batch) const {
    return chunk < 0 ? -1 : chunk * c.slots_per_chunk + batch;
  }
  bool first_forward(const RankSchedule& schedule, std::size_t i) const {
    const DataParallelSpec& dp = config_.plan.dp;
    const auto step = schedule.steps.begin() + static_cast<std::ptrdiff_t>(i);
    return dp.overlap_param_gather && !dp.shards_weights() && step->forward_chunk >= 0 &&
           std::none_of(schedule.steps.begin(), step, [&](const ScheduleStep& s) {
             return s.forward_chunk == step->forward_chunk;
           });
  }
  bool last_weights(const RankSchedule& schedule, std::size_t i) const {
    const DataParallelSpec& dp = config_.plan.dp;
    const auto step = schedule.steps.begin() + static_cast<std::ptrdiff_t>(i);
    return dp.reduces_in_backward() && !dp.shards_gradients() && step->backward_chunk >= 0 &&
           std::none_of(step + 1, schedule.steps.end(), [&](const ScheduleStep& s) {
             return s.kind != BlockKind::kBackwardInput && s.backward_chunk == step->backward_chunk;
           });
  }

  // The block for this kind, chunks and ends of the step, emitted on first use.
  template <class Emit>
  uint32_t block(RankClass& c, std::tuple<BlockKind, int, int, int> key, Emit emit) {
    const auto [it, fresh] = block_of_.try_emplace(key, static_cast<uint32_t>(c.blocks.size()));
    if (!fresh) return it->second;
    const auto [kind, forward, backward, ends] = key;
    const auto like = [&](int chunk) {
      return chunk < 0 ? -1 : alike_[static_cast<std::size_t>(stage_of(c, chunk))];
    };
    const auto lane = [&](int chunk) { return chunk < 0 ? -1 : at(c, chunk).lane; };
    const auto [twin, first] = emitted_.try_emplace(
        {kind, like(forward), like(backward), lane(forward), lane(backward), ends});
    if (first) {
      BlockEmitter e(plan_, kind);
      const std::size_t first_op = plan_.ops.size();
      emit(e);
      c.blocks.push_back(e.finish());
      twin->second = {c.blocks.back(), first_op, plan_.ops.size()};
    } else {
      c.blocks.push_back(copied(twin->second, c, forward, backward));
    }
    return it->second;
  }

  // What a class has emitted, for stages that are alike.
  struct Emitted {
    Block block;
    std::size_t first_op = 0, end_op = 0;
  };
  Block copied(const Emitted& from, const RankClass& c, int forward_chunk, int backward_chunk) {
    const auto later = static_cast<uint32_t>(plan_.ops.size() - from.first_op);
    for (std::size_t i = from.first_op; i < from.end_op; ++i) {
      PlanOp p = plan_.ops[i];
      const int chunk = p.role == Role::kForward ? forward_chunk : backward_chunk;
      p.stage = static_cast<uint16_t>(stage_of(c, chunk));
      p.chunk = static_cast<int16_t>(chunk);
      p.communicator = -1;
      plan_.ops.push_back(p);
    }
    Block b = from.block;
    if (b.forward_stage >= 0) b.forward_stage = static_cast<int16_t>(stage_of(c, forward_chunk));
    if (b.backward_stage >= 0) b.backward_stage = static_cast<int16_t>(stage_of(c, backward_chunk));
    for (Instr& i : b.instrs)
      if (i.kind == Instr::Kind::kLaunch) i.arg += later;
    return b;
  }

  void call_recvs(RankClass& c, const ScheduleStep& s) {
    const auto recv = [&](Role role, int chunk, int batch, SegmentKind segment, StreamKind stream) {
      if (chunk < 0 || at_.graph(stage_of(c, chunk)).find(segment, 0) == nullptr) return;
      const bool forward = role == Role::kForward;
      const uint32_t b = block(c, {BlockKind::kRecv, forward ? chunk : -1, forward ? -1 : chunk, 0},
                               [&](BlockEmitter& e) {
                                 e.gate(lane_stream(stream, at(c, chunk).lane));
                                 e.add(role, at(c, chunk), segment, 0);
                               });
      const int into = slot(c, chunk, batch);
      c.calls.push_back({b, forward ? into : -1, forward ? -1 : into});
    };
    recv(Role::kForward, s.forward_chunk, s.forward_batch, SegmentKind::kRecvF,
         StreamKind::kRecvForward);
    if (s.kind != BlockKind::kWeight)
      recv(Role::kBackward, s.backward_chunk, s.backward_batch, SegmentKind::kRecvB,
           StreamKind::kRecvBackward);
  }

  // Whether the step runs a backward whose first unit has activations in host memory.
  bool reloads(const RankClass& c, const ScheduleStep& s) const {
    return s.backward_chunk >= 0 && s.kind != BlockKind::kWeight &&
           reloads_last_unit(at_.graph(stage_of(c, s.backward_chunk)));
  }

  // They come back beside the step before: from its start on, or, where its own backward has
  // activations come back too, behind these. When that step is the forward they come after it.
  bool may_reload_before(const RankClass& c, const ScheduleStep& before,
                         const ScheduleStep& s) const {
    if (before.forward_chunk == s.backward_chunk && before.forward_batch == s.backward_batch)
      return false;
    return before.backward_chunk < 0 || before.kind == BlockKind::kWeight ||
           !reloads_in_backward(at_.graph(stage_of(c, before.backward_chunk)));
  }

  void call_reload(RankClass& c, const ScheduleStep& s, bool gated) {
    const int chunk = s.backward_chunk;
    const uint32_t b =
        block(c, {BlockKind::kReload, -1, chunk, gated ? 1 : 0}, [&](BlockEmitter& e) {
          if (gated) e.gate(StreamKind::kHostToDevice);
          const StageAt where = at(c, chunk);
          e.add(Role::kBackward, where, SegmentKind::kReloadB, at_.graph(where.stage).units - 1);
        });
    c.calls.push_back({b, -1, slot(c, chunk, s.backward_batch)});
  }

  // Those of the blocks before; what the block receives has been posted by now, so that two stages
  // that send to each other do not wait for ever.
  static void wait_for_sends(BlockEmitter& e) {
    for (const StreamKind s : {StreamKind::kSendForward, StreamKind::kSendBackward})
      for (int lane = 0; lane < 2; ++lane) e.hold(StreamKind::kCompute, lane_stream(s, lane));
  }

  void emit_step(BlockEmitter& e, const RankClass& c, const ScheduleStep& s, bool first_forward,
                 bool last_weights) {
    StageAt f = at(c, s.forward_chunk), b = at(c, s.backward_chunk);
    f.first_forward = first_forward;
    b.last_weights = last_weights;
    if (config_.stack.blocking_p2p) wait_for_sends(e);
    const AllToAlls how =
        config_.plan.overlap_expert_parallel ? AllToAlls::kBeside : AllToAlls::kAlone;
    switch (s.kind) {
      case BlockKind::kForward:
        return add_forward(e, plan_, f, how);
      case BlockKind::kBackward:
        return add_backward(e, plan_, b, Weights::kNow, how);
      case BlockKind::kBackwardInput:
        return add_backward(e, plan_, b, Weights::kLater, how);
      case BlockKind::kWeight:
        return add_weight(e, plan_, b);
      case BlockKind::kPair:
        if (config_.plan.overlap_expert_parallel)
          return add_pair(e, plan_, f, b, Transfers::kPipeline);
        add_forward(e, plan_, f, how);
        return add_backward(e, plan_, b, Weights::kNow, how);
      default:
        return;
    }
  }

  void call_step(RankClass& c, const RankSchedule& schedule, std::size_t i) {
    const ScheduleStep& s = schedule.steps[i];
    const bool first = first_forward(schedule, i), last = last_weights(schedule, i);
    const int ends = (first ? 1 : 0) | (last ? 2 : 0);
    const uint32_t b = block(c, {s.kind, s.forward_chunk, s.backward_chunk, ends},
                             [&](BlockEmitter& e) { emit_step(e, c, s, first, last); });
    c.calls.push_back({b, slot(c, s.forward_chunk, s.forward_batch),
                       slot(c, s.backward_chunk, s.backward_batch)});
  }

  // Weights of the rank, its share of the optimizer states, and the step that updates them.
  void call_optimizer(RankClass& c) {
    const OptimizerInput in = optimizer_input(at_, c);
    place_optimizer(at_, in, c);
    const int st = static_cast<int>(plan_.stages.size());
    plan_.stages.push_back(build_optimizer(config_, in));
    BlockEmitter e(plan_, BlockKind::kOptimizer);
    e.gate(StreamKind::kGradient);
    if (config_.plan.dp.offload_optimizer) e.gate(StreamKind::kHostToDevice);
    if (config_.plan.dp.reduces_in_backward()) e.hold(StreamKind::kCompute, StreamKind::kGradient);
    e.add(Role::kForward, {st}, SegmentKind::kOptimizer, 0);
    c.blocks.push_back(e.finish());
    c.calls.push_back({static_cast<uint32_t>(c.blocks.size() - 1), -1, -1});
  }

  GraphConfig config_;
  ExecPlan plan_;
  PlanContext at_;
  std::vector<int> alike_;  // per stage: the first that it is alike
  std::map<std::tuple<BlockKind, int, int, int>, uint32_t> block_of_;  // of a class
  // By kind, stages that these are alike, lanes and ends.
  std::map<std::tuple<BlockKind, int, int, int, int, int>, Emitted> emitted_;
};

}  // namespace

ExecPlan compile_plan(const GraphConfig& config) { return PlanCompiler(config).compile(); }

ExecPlan compile_pair(const GraphConfig& config, int forward_stage, int backward_stage, int calls) {
  return PlanCompiler(config, {forward_stage, backward_stage})
      .compile_pair(forward_stage, backward_stage, calls);
}

}  // namespace orrery
