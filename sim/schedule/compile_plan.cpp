#include "sim/schedule/compile_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "sim/graph/optimizer.h"
#include "sim/schedule/block_emitter.h"
#include "sim/schedule/schedule.h"

namespace orrery {
namespace {

// Segments of one unit in the order in which one stream would run them.
void add_forward(BlockEmitter& e, const ExecPlan& plan, int stage, int chunk) {
  const int units = plan.stages[static_cast<std::size_t>(stage)].units;
  for (int u = 0; u < units; ++u)
    for (SegmentKind s : {SegmentKind::kAttnF, SegmentKind::kDispatchF, SegmentKind::kMlpF,
                          SegmentKind::kCombineF, SegmentKind::kHeadF})
      e.add(Role::kForward, stage, chunk, s, u);
  e.add(Role::kForward, stage, chunk, SegmentKind::kSendF, 0);
}

enum class Weights : uint8_t { kNow, kLater };

void add_backward(BlockEmitter& e, const ExecPlan& plan, int stage, int chunk, Weights weights) {
  const int units = plan.stages[static_cast<std::size_t>(stage)].units;
  for (int u = units - 1; u >= 0; --u) {
    const auto add = [&](SegmentKind s) { e.add(Role::kBackward, stage, chunk, s, u); };
    const auto add_weight = [&](SegmentKind s) {
      if (weights == Weights::kNow) add(s);
    };
    add(SegmentKind::kHeadB);
    add_weight(SegmentKind::kHeadW);
    add(SegmentKind::kCombineB);
    add(SegmentKind::kMlpB);
    add(SegmentKind::kDispatchB);
    add_weight(SegmentKind::kMlpW);
    add(SegmentKind::kAttnB);
    if (u == 0) e.add(Role::kBackward, stage, chunk, SegmentKind::kSendB, 0);
    add_weight(SegmentKind::kAttnW);
  }
}

void add_weight(BlockEmitter& e, const ExecPlan& plan, int stage, int chunk) {
  const int units = plan.stages[static_cast<std::size_t>(stage)].units;
  for (int u = units - 1; u >= 0; --u)
    for (SegmentKind s : {SegmentKind::kHeadW, SegmentKind::kMlpW, SegmentKind::kAttnW})
      e.add(Role::kBackward, stage, chunk, s, u);
}

enum class Transfers : uint8_t { kPipeline, kNone };

// The overlapped pair (arXiv 2412.19437, figure 4, and the order seen in deepseek-ai/profile-data):
// unit by unit, the forward of the one micro-batch hides the all-to-alls of the other's backward.
void add_pair(BlockEmitter& e, const ExecPlan& plan, int forward_stage, int forward_chunk,
              int backward_stage, int backward_chunk, Transfers transfers) {
  const int forward_units = plan.stages[static_cast<std::size_t>(forward_stage)].units;
  const int backward_units = plan.stages[static_cast<std::size_t>(backward_stage)].units;
  for (int i = 0; i < std::max(forward_units, backward_units); ++i) {
    const int f = i, b = backward_units - 1 - i;
    const auto forward = [&](SegmentKind s) {
      if (f < forward_units) e.add(Role::kForward, forward_stage, forward_chunk, s, f);
    };
    const auto backward = [&](SegmentKind s) {
      if (b >= 0) e.add(Role::kBackward, backward_stage, backward_chunk, s, b);
    };
    backward(SegmentKind::kHeadB);
    backward(SegmentKind::kCombineB);
    forward(SegmentKind::kAttnF);
    backward(SegmentKind::kMlpB);
    forward(SegmentKind::kDispatchF);
    backward(SegmentKind::kDispatchB);
    backward(SegmentKind::kHeadW);
    backward(SegmentKind::kMlpW);
    forward(SegmentKind::kMlpF);
    backward(SegmentKind::kAttnB);
    forward(SegmentKind::kCombineF);
    forward(SegmentKind::kHeadF);
    if (transfers == Transfers::kNone) {
      backward(SegmentKind::kAttnW);
      continue;
    }
    if (b == 0) e.add(Role::kBackward, backward_stage, backward_chunk, SegmentKind::kSendB, 0);
    if (f == forward_units - 1)
      e.add(Role::kForward, forward_stage, forward_chunk, SegmentKind::kSendF, 0);
    backward(SegmentKind::kAttnW);
  }
}

class PlanCompiler {
 public:
  explicit PlanCompiler(const GraphConfig& config) : config_(config) {
    for (int64_t s = 0; s < config.plan.pipeline_parallel; ++s)
      plan_.stages.push_back(build_stage(config, s));
    plan_.expert_parallel = config.plan.expert_parallel;
    embedding_copies_ = std::count_if(
        plan_.stages.begin(), plan_.stages.end(),
        [](const StageGraph& g) { return g.find_param(kEmbeddingParam, -1).valid(); });
  }

  ExecPlan compile() {
    const int ranks = static_cast<int>(config_.plan.pipeline_parallel);
    std::vector<RankSchedule> schedules;
    for (int r = 0; r < ranks; ++r) schedules.push_back(make_schedule(config_.plan, r));
    copies_.assign(static_cast<std::size_t>(ranks), 0);
    for (const RankSchedule& s : schedules)
      for (int stage : s.stage_of_chunk) ++copies_[static_cast<std::size_t>(stage)];
    for (int r = 0; r < ranks; ++r) compile_class(r, schedules[static_cast<std::size_t>(r)]);
    return std::move(plan_);
  }

  ExecPlan compile_pair(int forward_stage, int backward_stage, int calls) {
    RankClass& c = begin_class(0, {forward_stage, backward_stage}, 1);
    const auto first_op = plan_.ops.size();
    BlockEmitter e(plan_, BlockKind::kPair);
    add_pair(e, plan_, forward_stage, 0, backward_stage, 1, Transfers::kNone);
    c.blocks.push_back(e.finish());
    c.multiplicity = config_.plan.expert_parallel;
    c.calls.assign(static_cast<std::size_t>(calls), {0, 0, 1});
    bind_communicators(c, first_op);
    return std::move(plan_);
  }

 private:
  RankClass& begin_class(int rank, std::vector<int> stages, int batches) {
    RankClass c;
    c.name = fmt::format("PP rank {}", rank);
    c.multiplicity = config_.plan.data_parallel;
    c.first_rank = rank * c.multiplicity;
    c.stage_of_chunk = std::move(stages);
    c.slots_per_chunk = batches;
    plan_.classes.push_back(std::move(c));
    return plan_.classes.back();
  }

  void compile_class(int rank, const RankSchedule& schedule) {
    RankClass& c = begin_class(rank, schedule.stage_of_chunk, schedule.batches_per_chunk);
    const auto first_op = plan_.ops.size();
    block_of_.clear();
    // Each transfer in is posted one step ahead, when the compute stream reaches the step before.
    for (std::size_t i = 0; i < schedule.steps.size(); ++i) {
      if (i == 0) call_recvs(c, schedule.steps[0]);
      if (i + 1 < schedule.steps.size()) call_recvs(c, schedule.steps[i + 1]);
      call_step(c, schedule.steps[i]);
    }
    call_optimizer(c);
    bind_communicators(c, first_op);
  }

  int slot(const RankClass& c, int chunk, int batch) const {
    return chunk < 0 ? -1 : chunk * c.slots_per_chunk + batch;
  }
  int stage(const RankClass& c, int chunk) const {
    return chunk < 0 ? -1 : c.stage_of_chunk[static_cast<std::size_t>(chunk)];
  }

  // The block for this kind and chunks, emitted on first use.
  template <class Emit>
  uint32_t block(RankClass& c, std::tuple<BlockKind, int, int> key, Emit emit) {
    const auto [it, fresh] = block_of_.try_emplace(key, static_cast<uint32_t>(c.blocks.size()));
    if (fresh) {
      BlockEmitter e(plan_, std::get<0>(key));
      emit(e);
      c.blocks.push_back(e.finish());
    }
    return it->second;
  }

  void call_recvs(RankClass& c, const ScheduleStep& s) {
    const auto recv = [&](Role role, int chunk, int batch, SegmentKind segment, StreamKind stream) {
      const int st = stage(c, chunk);
      if (st < 0 || plan_.stages[static_cast<std::size_t>(st)].find(segment, 0) == nullptr) return;
      const bool forward = role == Role::kForward;
      const uint32_t b = block(
          c, {BlockKind::kRecv, forward ? chunk : -1, forward ? -1 : chunk}, [&](BlockEmitter& e) {
            e.gate(static_cast<StreamKind>(static_cast<int>(stream) + 4 * chunk));
            e.add(role, st, chunk, segment, 0);
          });
      const int at = slot(c, chunk, batch);
      c.calls.push_back({b, forward ? at : -1, forward ? -1 : at});
    };
    recv(Role::kForward, s.forward_chunk, s.forward_batch, SegmentKind::kRecvF,
         StreamKind::kRecvForward);
    if (s.kind != BlockKind::kWeight)
      recv(Role::kBackward, s.backward_chunk, s.backward_batch, SegmentKind::kRecvB,
           StreamKind::kRecvBackward);
  }

  void emit_step(BlockEmitter& e, const RankClass& c, const ScheduleStep& s) {
    const int f = stage(c, s.forward_chunk), b = stage(c, s.backward_chunk);
    switch (s.kind) {
      case BlockKind::kForward:
        add_forward(e, plan_, f, s.forward_chunk);
        break;
      case BlockKind::kBackward:
        add_backward(e, plan_, b, s.backward_chunk, Weights::kNow);
        break;
      case BlockKind::kBackwardInput:
        add_backward(e, plan_, b, s.backward_chunk, Weights::kLater);
        break;
      case BlockKind::kWeight:
        add_weight(e, plan_, b, s.backward_chunk);
        break;
      case BlockKind::kPair:
        if (config_.plan.overlap_expert_parallel) {
          add_pair(e, plan_, f, s.forward_chunk, b, s.backward_chunk, Transfers::kPipeline);
        } else {
          add_forward(e, plan_, f, s.forward_chunk);
          add_backward(e, plan_, b, s.backward_chunk, Weights::kNow);
        }
        break;
      default:
        break;
    }
  }

  void call_step(RankClass& c, const ScheduleStep& s) {
    const uint32_t b = block(c, {s.kind, s.forward_chunk, s.backward_chunk},
                             [&](BlockEmitter& e) { emit_step(e, c, s); });
    c.calls.push_back({b, slot(c, s.forward_chunk, s.forward_batch),
                       slot(c, s.backward_chunk, s.backward_batch)});
  }

  const StageGraph& graph(int stage) const { return plan_.stages[static_cast<std::size_t>(stage)]; }
  int64_t replicas(int stage) const {
    return config_.plan.data_parallel * copies_[static_cast<std::size_t>(stage)];
  }

  // The dense (or expert) weights of a chunk; `skip_embedding` when the rank has it in another one.
  OptimizerShare share(const RankClass& c, int chunk, bool expert, bool skip_embedding) const {
    OptimizerShare s;
    s.chunk = chunk;
    s.stage = stage(c, chunk);
    s.comm = expert ? CommKind::kExpertData : CommKind::kData;
    s.owners = replicas(s.stage) / (expert ? config_.plan.expert_parallel : 1);
    s.shards = config_.plan.zero_stage == 0 ? 1 : s.owners;
    const std::vector<Param>& params = graph(s.stage).params;
    for (uint32_t i = 0; i < params.size(); ++i) {
      const Param& p = params[i];
      if (p.expert != expert || !p.trained) continue;
      if (p.name == kEmbeddingParam) {
        if (skip_embedding) continue;
        if (s.stage != 0) s.repeated = {i};
      }
      s.params.push_back({i});
      s.offsets.push_back(s.elements);
      s.elements += round_up(p.count(), kShareAlignment);
    }
    s.elements = round_up(s.elements, s.shards * kShareAlignment);
    return s;
  }

  static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

  int64_t moe_layers(int stage) const {
    const auto& params = graph(stage).params;
    return std::count_if(params.begin(), params.end(),
                         [](const Param& p) { return p.name == "router.bias"; });
  }

  // In the order of the stages, so that the ranks that share them meet in one order.
  OptimizerInput optimizer_input(const RankClass& c) const {
    std::vector<int> chunks(c.stage_of_chunk.size());
    std::iota(chunks.begin(), chunks.end(), 0);
    std::sort(chunks.begin(), chunks.end(),
              [&](int a, int b) { return stage(c, a) < stage(c, b); });
    OptimizerInput in;
    bool has_embedding = false;
    for (int chunk : chunks) {
      for (bool expert : {false, true}) {
        OptimizerShare s = share(c, chunk, expert, has_embedding);
        if (!s.params.empty()) in.shares.push_back(std::move(s));
      }
      const bool embedding = graph(stage(c, chunk)).find_param(kEmbeddingParam, -1).valid();
      if (embedding && chunks.size() == 1 && embedding_copies_ > 1)
        in.chunks_with_shared_embedding.push_back(chunk);
      has_embedding = has_embedding || embedding;
      const int64_t routers = moe_layers(stage(c, chunk));
      if (routers > 0 && config_.model.router.bias) in.routers.push_back({chunk, routers});
    }
    return in;
  }

  // Weights of the rank, its share of the optimizer states, and the step that updates them.
  void call_optimizer(RankClass& c) {
    const OptimizerInput in = optimizer_input(c);
    Bytes weights{0}, gradients{0}, states{0};
    for (const OptimizerShare& s : in.shares) {
      for (ParamId id : s.params) {
        const Param& w = graph(s.stage).params[id.v];
        weights += tensor_bytes(w.dtype, w.rows, w.cols);
      }
      gradients += Bytes(4 * s.elements);
      states += Bytes(optimizer_state_bytes(config_.plan) * s.owned());
    }
    const auto at = [](BufferKind k) { return static_cast<std::size_t>(k); };
    c.static_bytes[at(BufferKind::kWeights)] = weights;
    c.static_bytes[at(BufferKind::kGradients)] = gradients;
    c.static_bytes[at(BufferKind::kOptimizer)] = states;
    c.shares = in.shares;

    const int st = static_cast<int>(plan_.stages.size());
    plan_.stages.push_back(build_optimizer(config_, in));
    BlockEmitter e(plan_, BlockKind::kOptimizer);
    e.gate(StreamKind::kGradient);
    e.add(Role::kForward, st, 0, SegmentKind::kOptimizer, 0);
    c.blocks.push_back(e.finish());
    c.calls.push_back({static_cast<uint32_t>(c.blocks.size() - 1), -1, -1});
  }

  // Communicators are found by what they connect; every class that lists the same key takes part.
  void bind_communicators(RankClass& c, std::size_t first_op) {
    for (std::size_t i = first_op; i < plan_.ops.size(); ++i) {
      PlanOp& p = plan_.ops[i];
      const Op& op = plan_.graph_op(p);
      if (op.comm == CommKind::kNone) continue;
      const Communicator want = communicator(c, p, op);
      auto it = std::find_if(
          c.communicators.begin(), c.communicators.end(),
          [&](const Communicator& x) { return x.kind == want.kind && x.key == want.key; });
      if (it == c.communicators.end()) it = c.communicators.insert(it, want);
      p.communicator = static_cast<int16_t>(it - c.communicators.begin());
    }
  }

  Communicator communicator(const RankClass& c, const PlanOp& p, const Op& op) const {
    const PlanSpec& plan = config_.plan;
    const auto stage_of_op = static_cast<uint32_t>(p.stage);
    const uint32_t chunk = static_cast<uint32_t>(p.chunk);
    switch (op.comm) {
      // One boundary: between the stage that sends activations and the next, per chunk direction.
      case CommKind::kForwardP2p:
        return {op.comm, boundary(stage_of_op, op.kind == OpKind::kSend) * 2 + chunk, 2};
      case CommKind::kBackwardP2p:
        return {op.comm, boundary(stage_of_op, op.kind == OpKind::kRecv) * 2 + chunk, 2};
      case CommKind::kExpert:
        return {op.comm, static_cast<uint32_t>(&c - plan_.classes.data()) * 2 + chunk,
                plan.expert_parallel};
      case CommKind::kData:
      case CommKind::kExpertData: {
        const int st = stage(c, op.unit);
        const int64_t n = plan.data_parallel * copies_[static_cast<std::size_t>(st)];
        return {op.comm, static_cast<uint32_t>(st),
                op.comm == CommKind::kData ? n : n / plan.expert_parallel};
      }
      case CommKind::kEmbedding:
        return {op.comm, 0, embedding_copies_};
      default:
        return {CommKind::kWorld, 0, plan.world_size()};
    }
  }
  // The boundary is named by its upstream stage.
  static uint32_t boundary(uint32_t stage, bool upstream) { return upstream ? stage : stage - 1; }

  GraphConfig config_;
  ExecPlan plan_;
  int64_t embedding_copies_ = 0;  // stages that hold it
  std::vector<int> copies_;       // ranks of one pipeline that hold each stage
  std::map<std::tuple<BlockKind, int, int>, uint32_t> block_of_;
};

}  // namespace

ExecPlan compile_plan(const GraphConfig& config) { return PlanCompiler(config).compile(); }

ExecPlan compile_pair(const GraphConfig& config, int forward_stage, int backward_stage, int calls) {
  return PlanCompiler(config).compile_pair(forward_stage, backward_stage, calls);
}

}  // namespace orrery
