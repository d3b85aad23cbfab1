#include "sim/study/analytic.h"

#include <algorithm>
#include <limits>

#include "sim/schedule/compile_plan.h"

namespace orrery {
namespace {

constexpr double kBefore = -std::numeric_limits<double>::infinity();

double fastest(const OpTiming& t) {
  return seconds(*std::min_element(std::begin(t.duration), std::end(t.duration)));
}

bool is_compute(StreamKind s) { return s == StreamKind::kCompute || s == StreamKind::kComputeAux; }

bool is_stage_output(const StageGraph& g, const Op& op) {
  return op.kind == OpKind::kAdd && op.phase == Phase::kForward && op.outputs > 0 &&
         g.act_out.valid() && g.outputs(op)[0] == g.act_out;
}

const Block* find_block(const RankClass& c, BlockKind kind) {
  for (const Block& b : c.blocks)
    if (b.kind == kind) return &b;
  return nullptr;
}

// One layer a stage, embedding and head on stages of their own: what the costs of layers are read
// from.
PlanSpec layer_by_layer(const StudySpec& s) {
  PlanSpec p = s.plan;
  p.layers_per_stage.assign(static_cast<std::size_t>(s.model.layers + 2), 1);
  p.layers_per_stage.front() = p.layers_per_stage.back() = 0;
  p.pipeline_parallel = s.model.layers + 2;
  p.virtual_pipeline = 1;
  p.global_batch = p.data_parallel * p.micro_batch;
  p.schedule = ScheduleKind::k1F1B;
  // Which layers are recomputed depends on the split when it is the first ones of each stage.
  if (p.recompute.full == FullRecompute::kBlock) p.recompute.full = FullRecompute::kNone;
  return p;
}

bool updates_weights(OpKind k) {
  return k == OpKind::kAdamW || k == OpKind::kMuonMomentum || k == OpKind::kMuonNormalise ||
         k == OpKind::kMuonUpdate;
}

// What a shard has in the mean, of what the first has: the matrices of one layer may leave more
// shards empty than those of many.
double mean_shard(const OptimizerShare& s) {
  return static_cast<double>(s.matrices.count * s.matrices.elements_of_one()) /
         static_cast<double>(s.shards * s.owned());
}

// The optimizer's reading and writing of the rank's states, kernels' fixed costs and Muon's
// products left out.
double optimizer_seconds(const ExecPlan& plan, const RankClass& c, const TimingInput& in) {
  double s = 0;
  const auto sms = static_cast<int64_t>(in.cluster.node.gpu.sm_count.value);
  for (const Instr& i : find_block(c, BlockKind::kOptimizer)->instrs) {
    if (i.kind != Instr::Kind::kLaunch) continue;
    Op op = plan.graph_op(plan.ops[i.arg]);
    if (!updates_weights(op.kind)) continue;
    const OptimizerShare& share = c.shares[static_cast<std::size_t>(op.shape.index)];
    const double part = share.muon() ? mean_shard(share) : 1;
    s += part * compute_op_seconds(op, in, {sms});
    op.work.hbm = Bytes(0);
    s -= part * compute_op_seconds(op, in, {sms});
  }
  return s;
}

int at_stage(const ScheduleShape::Rank& rank, int chunk) {
  return rank.stages[static_cast<std::size_t>(chunk)];
}

}  // namespace

ScheduleShape schedule_shape(const PlanSpec& plan) {
  ScheduleShape shape;
  // The order of ZB-V depends on the costs of the stages; how much of what there is does not.
  shape.known_order = plan.schedule != ScheduleKind::kZbV;
  for (const RankSchedule& s : make_schedules(plan, ChunkTimes{})) {
    const std::size_t n = s.stage_of_chunk.size();
    ScheduleShape::Rank rank;
    rank.stages = s.stage_of_chunk;
    for (auto* counts :
         {&rank.forward, &rank.backward, &rank.input, &rank.weight, &rank.late_weights})
      counts->assign(n, 0);
    rank.pairs.assign(n * n, 0);
    bool first = true;
    for (const ScheduleStep& x : s.steps) {
      const auto f = static_cast<std::size_t>(x.forward_chunk);
      const auto b = static_cast<std::size_t>(x.backward_chunk);
      if (x.forward_chunk >= 0 && first) rank.first_chunk = x.forward_chunk, first = false;
      if (x.kind == BlockKind::kForward) ++rank.forward[f];
      if (x.kind == BlockKind::kBackward) ++rank.backward[b];
      if (x.kind == BlockKind::kBackwardInput) ++rank.input[b];
      if (x.kind == BlockKind::kWeight) ++rank.weight[b], ++rank.late_weights[b];
      if (x.kind == BlockKind::kPair) ++rank.pairs[f * n + b];
      if (x.backward_chunk < 0 || x.kind == BlockKind::kWeight) continue;
      rank.last_chunk = x.backward_chunk;
      rank.last_in_full = x.kind == BlockKind::kBackward;
      rank.last_in_pair = x.kind == BlockKind::kPair;
      std::fill(rank.late_weights.begin(), rank.late_weights.end(), 0);
      shape.splits_backward = shape.splits_backward || x.kind == BlockKind::kBackwardInput;
    }
    shape.ranks.push_back(std::move(rank));
  }
  shape.local.resize(static_cast<std::size_t>(plan.stages()));
  for (const ScheduleShape::Rank& r : shape.ranks)
    for (int s : r.stages)
      if (std::find(r.stages.begin(), r.stages.end(), s + 1) != r.stages.end())
        shape.local[static_cast<std::size_t>(s)] = true;
  return shape;
}

// Ops in the order of their block, each on its stream as soon as the ops that it reads from are
// done; what other calls give is there from the start.
struct AnalyticCosts::Run {
  const ExecPlan& plan;
  const PlanTiming& timing;
  const StageGraph& graph;
  double streams[kStreams];
  std::vector<double> tensors;
  double out_start = 0;  // of the op that writes `out`
  TensorId out;

  // `compute`: when the compute stream is free; the input of the block is there at 0.
  Run(const ExecPlan& p, const PlanTiming& t, std::size_t stage, TensorId in, TensorId result,
      double compute)
      : plan(p),
        timing(t),
        graph(p.stages[stage]),
        tensors(graph.tensors.size(), kBefore),
        out(result) {
    std::fill(std::begin(streams), std::end(streams), kBefore);
    streams[static_cast<std::size_t>(StreamKind::kCompute)] = compute;
    if (in.valid()) tensors[in.v] = 0;
  }

  void run(const Block& block, bool weights) {
    for (const Instr& i : block.instrs) {
      if (i.kind != Instr::Kind::kLaunch) continue;
      const PlanOp& p = plan.ops[i.arg];
      const Op& op = graph.ops[p.graph_op];
      if (!weights && op.phase == Phase::kWeight) continue;
      double& stream = streams[static_cast<std::size_t>(p.stream)];
      for (TensorId t : graph.inputs(op)) stream = std::max(stream, tensors[t.v]);
      const double end = stream + fastest(timing[i.arg]);
      for (TensorId t : graph.outputs(op)) tensors[t.v] = end;
      // The sum that leaves a stage is part of the next norm when the next layer is on it.
      if (is_stage_output(graph, op))
        out_start = stream;
      else
        stream = end;
    }
  }
  double compute_end() const { return streams[static_cast<std::size_t>(StreamKind::kCompute)]; }
  double out_end() const { return out.valid() ? tensors[out.v] : compute_end(); }
};

void AnalyticCosts::add_layer(const ExecPlan& plan, const PlanTiming& alone,
                              const PlanTiming& paired, std::size_t stage) {
  const RankClass& c = plan.classes[stage];
  const StageGraph& g = plan.stages[stage];
  const Block& forward = *find_block(c, BlockKind::kForward);
  const Block& backward = *find_block(c, BlockKind::kBackward);
  Layer l;
  Run f(plan, alone, stage, g.act_in, g.act_out, 0);
  f.run(forward, true);
  l.forward_end = f.compute_end();
  l.forward_out = std::max(f.out_end(), l.forward_end);
  l.forward = g.act_out.valid() ? std::max(f.out_start, l.forward_end) : l.forward_end;
  Run b(plan, alone, stage, g.grad_in, g.grad_out, 0);
  b.run(backward, true);
  l.backward = b.out_end();
  l.late = b.compute_end() - b.out_end();
  Run in(plan, alone, stage, g.grad_in, g.grad_out, 0);
  in.run(backward, false);
  l.input = in.out_end();
  const auto sum = [&](const Block& block, bool is_forward) {
    for (const Instr& i : block.instrs) {
      if (i.kind != Instr::Kind::kLaunch) continue;
      const PlanOp& p = plan.ops[i.arg];
      const Op& op = g.ops[p.graph_op];
      if (is_stage_output(g, op)) continue;
      const double t = fastest(alone[i.arg]);
      if (is_compute(p.stream)) {
        (is_forward ? l.compute_forward : l.compute_backward) += t;
        (is_forward ? l.pair_forward : l.pair_backward) += fastest(paired[i.arg]);
        if (op.phase == Phase::kWeight) l.weight += t;
      } else if (p.stream == StreamKind::kAllToAll) {
        (is_forward ? l.transfer_forward : l.transfer_backward) += t;
      }
    }
  };
  sum(forward, true);
  sum(backward, false);
  layers_.push_back(l);
}

AnalyticCosts::AnalyticCosts(const StudySpec& study) {
  const PlanSpec reference = layer_by_layer(study);
  const GraphConfig graph{study.model, reference, study.stack, study.cluster.node.gpus};
  const TimingInput input{graph, study.cluster};
  ExecPlan plan = compile_plan(graph);
  const PlanTiming alone = time_ops(plan, input, 1);
  for (RankClass& c : plan.classes)
    for (Block& b : c.blocks)
      if (b.kind == BlockKind::kForward || b.kind == BlockKind::kBackward)
        b.kind = BlockKind::kPair;
  const PlanTiming paired = time_ops(plan, input, 1);
  for (RankClass& c : plan.classes)  // back to what add_layer looks for
    for (Block& b : c.blocks)
      if (b.kind == BlockKind::kPair)
        b.kind = b.forward_stage >= 0 ? BlockKind::kForward : BlockKind::kBackward;
  hop_ = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < plan.ops.size(); ++i)
    if (plan.graph_op(plan.ops[i]).kind == OpKind::kSend) hop_ = std::min(hop_, fastest(alone[i]));
  late_ = std::numeric_limits<double>::infinity();
  sums_.emplace_back();
  for (std::size_t s = 0; s < plan.classes.size(); ++s) {
    add_layer(plan, alone, paired, s);
    layers_.back().optimizer =
        optimizer_seconds(plan, plan.classes[s], input) *
        static_cast<double>(reference.dp.zero_stage == 0 ? 1 : reference.data_parallel);
    if (plan.stages[s].grad_out.valid()) late_ = std::min(late_, layers_.back().late);
  }
  // Again with what the layer before keeps the compute stream busy with.
  for (std::size_t s = 0; s < plan.classes.size(); ++s) {
    const StageGraph& g = plan.stages[s];
    Run b(plan, alone, s, g.grad_in, g.grad_out, g.grad_in.valid() ? late_ : 0);
    b.run(*find_block(plan.classes[s], BlockKind::kBackward), true);
    layers_[s].backward = b.out_end();
    sums_.push_back(sums_.back());
    for (const auto part : kParts) sums_.back().*part += layers_[s].*part;
  }
}

AnalyticCosts::Stage AnalyticCosts::stage(std::size_t first, std::size_t end) const {
  Stage s;
  for (const auto part : kParts) s.*part = sums_[end].*part - sums_[first].*part;
  if (first == end) return s;
  s.forward_out = s.forward - layers_[end - 1].forward + layers_[end - 1].forward_out;
  s.forward += layers_[end - 1].forward_end - layers_[end - 1].forward;
  s.late = layers_[first].late;
  // Nothing of an earlier layer keeps the first one waiting.
  s.backward = std::max(0.0, s.backward - late_);
  return s;
}

AnalyticStep AnalyticCosts::step(const PlanSpec& plan, const ScheduleShape& shape) const {
  std::vector<Stage> stages;
  std::vector<double> head, tail;  // of each stage
  std::vector<int> copies(plan.layers_per_stage.size(), 0);
  double to = 0, from = 0;
  std::size_t layer = 0;
  for (std::size_t i = 0; i < plan.layers_per_stage.size(); ++i) {
    const std::size_t first = layer;
    layer += static_cast<std::size_t>(plan.layers_per_stage[i]) + (i == 0 ? 1 : 0);  // embedding
    if (i + 1 == plan.layers_per_stage.size()) layer = layers_.size();
    stages.push_back(stage(first, layer));
    head.push_back(to), tail.push_back(from);
    // A rank that holds both stages need not send.
    const double hop = shape.local[i] ? 0 : hop_;
    to += stages.back().forward_out + hop;
    from += (shape.splits_backward ? stages.back().input : stages.back().backward) + hop;
  }
  for (const ScheduleShape::Rank& r : shape.ranks)
    for (int s : r.stages) ++copies[static_cast<std::size_t>(s)];
  const bool overlaps = plan.overlap_expert_parallel;
  AnalyticStep best;
  for (std::size_t r = 0; r < shape.ranks.size(); ++r) {
    const ScheduleShape::Rank& rank = shape.ranks[r];
    const std::size_t n = rank.stages.size();
    AnalyticStep t;
    t.rank = static_cast<int>(r);
    double late = 0;
    const auto at = [&](std::size_t chunk) -> const Stage& {
      return stages[static_cast<std::size_t>(rank.stages[chunk])];
    };
    const auto add = [&](int64_t times, double work, double compute) {
      t.work_s += static_cast<double>(times) * std::max(work, compute);
      t.compute_s += static_cast<double>(times) * compute;
    };
    for (std::size_t c = 0; c < n; ++c) {
      const Stage& s = at(c);
      add(rank.forward[c], s.forward, s.compute_forward);
      add(rank.backward[c], s.backward + s.late, s.compute_backward);
      add(rank.input[c], s.input, s.compute_backward - s.weight);
      add(rank.weight[c], s.weight, s.weight);
      late += static_cast<double>(rank.late_weights[c]) * s.weight;
      t.optimizer_s +=
          s.optimizer /
          static_cast<double>(plan.dp.zero_stage == 0
                                  ? 1
                                  : plan.data_parallel *
                                        copies[static_cast<std::size_t>(rank.stages[c])]);
      for (std::size_t b = 0; b < n; ++b) {
        const int64_t pairs = rank.pairs[c * n + b];
        const Stage& other = at(b);
        if (overlaps)
          add(pairs, s.transfer_forward + other.transfer_backward,
              s.pair_forward + other.pair_backward);
        else
          add(pairs, s.forward + other.backward + other.late,
              s.compute_forward + other.compute_backward);
      }
    }
    const Stage& last = at(static_cast<std::size_t>(rank.last_chunk));
    if (rank.last_in_full) late += last.late;
    const double before = head[static_cast<std::size_t>(at_stage(rank, rank.first_chunk))];
    const double after = tail[static_cast<std::size_t>(at_stage(rank, rank.last_chunk))];
    const bool has_tail = shape.known_order && !rank.last_in_pair;
    t.bubble_s = before + (has_tail ? std::max(0.0, after - late) : 0);
    t.step_s = t.work_s + t.bubble_s + t.optimizer_s;
    if (t.step_s > best.step_s) best = t;
  }
  return best;
}

AnalyticStep analytic_step(const StudySpec& study) {
  return AnalyticCosts(study).step(study.plan, schedule_shape(study.plan));
}

}  // namespace orrery
