// Gathers and reductions of the weight groups of a stage, as ops of its graph.
#include <algorithm>
#include <map>

#include "sim/graph/param_groups.h"

namespace orrery {
namespace {

enum class Pass : uint8_t { kForward, kBackward };

// Of a weight that has copies in both directions beside it, one of these.
Dtype one_copy(Dtype weight) {
  switch (weight) {
    case Dtype::kFp8TensorWeight:
      return Dtype::kFp8Tensor;
    case Dtype::kMxfp8Weight:
      return Dtype::kMxfp8;
    case Dtype::kNvfp4Weight:
      return Dtype::kNvfp4;
    default:
      return weight;
  }
}

class GroupCollectives {
 public:
  GroupCollectives(const GraphConfig& config, StageGraph g)
      : config_(config), dp_(config.plan.dp), b_(config, std::move(g)) {
    group_of_.assign(graph().params.size(), -1);
    for (std::size_t i = 0; i < graph().groups.size(); ++i)
      for (ParamId p : graph().groups[i].params) group_of_[p.v] = static_cast<int>(i);
  }

  StageGraph run() {
    if (dp_.shards_weights())
      for (Pass pass : {Pass::kForward, Pass::kBackward}) use_gathered(pass);
    else if (dp_.overlap_param_gather)
      for (std::size_t i = 0; i < groups(); ++i)
        gathers_[{Pass::kForward, unit(i)}].push_back({i, {}, {}});
    if (dp_.shards_gradients()) use_reduced();
    emit_gathers();
    if (dp_.reduces_in_backward()) emit_reductions();
    return b_.finish();
  }

 private:
  struct Gather {
    std::size_t group;
    TensorId flat, weights;  // what arrives, and what kernels read; the same without a cast
  };

  StageGraph& graph() { return b_.graph(); }
  std::size_t groups() { return graph().groups.size(); }
  const ParamGroup& group(std::size_t i) { return graph().groups[i]; }
  int unit(std::size_t i) { return group(i).first_unit; }
  bool casts() const { return b_.fp8() && dp_.gather_dtype == GatherDtype::kBf16; }
  bool unshards() const { return casts() || config_.stack.copies_gathered_weights; }

  // Of one copy of each weight in the format that kernels read; where they read 16 bits, or cast
  // for themselves what was gathered in 16 bits, that.
  Bytes kernel_bytes(std::size_t i) {
    if (!b_.fp8() && dp_.gather_dtype == GatherDtype::kBf16)
      return tensor_bytes(Dtype::kBf16, 1, group(i).elements);
    Bytes sum{0};
    for (ParamId p : group(i).params) {
      const Param& w = graph().params[p.v];
      sum += tensor_bytes(one_copy(w.dtype), w.rows, w.cols);
    }
    return sum;
  }

  Bytes wire_bytes(std::size_t i) {
    return dp_.gather_dtype == GatherDtype::kFp8 ? kernel_bytes(i)
                                                 : tensor_bytes(Dtype::kBf16, 1, group(i).elements);
  }

  // The unit whose backward an op that runs again comes before; else its own.
  int runs_with(const Op& op) {
    const std::vector<int>& from = graph().recompute_from;
    if (op.again)
      for (int u = graph().units - 1; u >= op.unit; --u)
        if (from[static_cast<std::size_t>(u)] >= 0 && from[static_cast<std::size_t>(u)] <= op.unit)
          return u;
    return op.unit;
  }

  // Whether the weights of the forward serve the backward.
  bool kept(int last_unit) {
    return !dp_.reshard_after_forward ||
           (config_.plan.pipeline_parallel == 1 && last_unit >= last_kept_from());
  }

  // The last unit's; where that has the embedding's too, also the last layer's
  // (torchtitan/parallelisms/parallelize_llama.py).
  int last_kept_from() { return graph().units - (ends_together(config_.plan) ? 2 : 1); }

  Gather gathered(std::size_t i) {
    Gather x{i, {}, {}};
    x.flat =
        b_.tensor("gathered weights", Dtype::kBf16, 1, group(i).elements, BufferKind::kWeights);
    graph().tensors[x.flat.v].bytes = wire_bytes(i);
    x.weights = x.flat;
    if (unshards()) {
      x.weights =
          b_.tensor("unsharded weights", Dtype::kBf16, 1, group(i).elements, BufferKind::kWeights);
      graph().tensors[x.weights.v].bytes = kernel_bytes(i);
    }
    return x;
  }

  // Gives the ops of one pass that read a group's weights the gathered ones.
  void use_gathered(Pass pass) {
    const std::size_t n = graph().ops.size();
    std::vector<int> first(groups(), -1), last(groups(), -1);  // units that read it, in unit order
    const auto of_pass = [&](const Op& op) {
      const bool forward = op.phase == Phase::kForward;  // not what runs again
      return op.param.valid() && group_of_[op.param.v] >= 0 && reads_weight(op) &&
             forward == (pass == Pass::kForward);
    };
    for (const Op& op : graph().ops) {
      if (!of_pass(op)) continue;
      const auto i = static_cast<std::size_t>(group_of_[op.param.v]);
      const int unit = runs_with(op);
      first[i] = first[i] < 0 ? unit : std::min(first[i], unit);
      last[i] = std::max(last[i], unit);
    }
    std::vector<TensorId> weights(groups());
    for (std::size_t i = 0; i < groups(); ++i) {
      if (first[i] < 0) continue;
      if (pass == Pass::kBackward && kept_weights_.count(i) > 0) {
        weights[i] = kept_weights_[i];
        continue;
      }
      const Gather x = gathered(i);
      weights[i] = x.weights;
      if (pass == Pass::kForward && kept(last[i])) kept_weights_[i] = x.weights;
      gathers_[{pass, pass == Pass::kForward ? first[i] : last[i]}].push_back(x);
    }
    for (std::size_t o = 0; o < n; ++o)
      if (Op& op = graph().ops[o]; of_pass(op))
        op.weights = weights[static_cast<std::size_t>(group_of_[op.param.v])];
  }

  // Gives the ops that add to a group's gradients a tensor of this micro-batch.
  void use_reduced() {
    gradients_.resize(groups());
    for (Op& op : graph().ops) {
      if (!op.param.valid() || group_of_[op.param.v] < 0 || !writes_gradient(op)) continue;
      const auto i = static_cast<std::size_t>(group_of_[op.param.v]);
      if (!gradients_[i].valid())
        gradients_[i] =
            b_.tensor("unit gradients", Dtype::kBf16, 1, group(i).elements, BufferKind::kGradients);
      op.grad = gradients_[i];
      // Products write BF16 instead of adding to FP32.
      if (op.kind == OpKind::kGemm || op.kind == OpKind::kGemmFp8Wgrad)
        op.work.hbm += Bytes((2 - 8) * op.shape.m * op.shape.n);
    }
  }

  Op& collective(OpKind kind, const char* name, CommKind comm, std::size_t i, int64_t elements,
                 int64_t bytes, std::vector<TensorId> in, std::vector<TensorId> out) {
    b_.stream(StreamKind::kGradient);
    const OpShape shape{.m = elements, .n = bytes, .index = static_cast<int64_t>(i)};
    Op& op = b_.op(kind, name, shape, std::move(in), std::move(out));
    op.comm = comm;
    return op;
  }

  void emit_gathers() {
    for (const auto& [at, list] : gathers_) {
      const auto& [pass, unit] = at;
      const bool forward = pass == Pass::kForward;
      b_.begin(forward ? SegmentKind::kGatherF : SegmentKind::kGatherB, unit, -1);
      for (const Gather& x : list) {
        const ParamGroup& g = group(x.group);
        std::vector<TensorId> out;
        if (x.flat.valid()) out = {x.flat};
        Op& op = collective(OpKind::kAllGather, "gather weights",
                            shard_comm(config_.plan, g.expert), x.group, g.elements, 2, {}, out);
        if (x.flat.valid()) op.work.network = graph().tensors[x.flat.v].bytes;
      }
      b_.begin(forward ? SegmentKind::kUnshardF : SegmentKind::kUnshardB, unit, -1);
      for (const Gather& x : list)
        if (x.weights != x.flat)
          b_.op(OpKind::kUnshard, casts() ? "cast gathered weights" : "copy gathered weights",
                {.m = 1, .index = static_cast<int64_t>(x.group)}, {x.flat}, {x.weights});
    }
  }

  void emit_reductions() {
    for (int u = 0; u < graph().units; ++u) {
      b_.begin(SegmentKind::kReduceB, u, -1);
      for (std::size_t i = 0; i < groups(); ++i)
        if (unit(i) == u) reduce(i);
    }
  }

  void reduce(std::size_t i) {
    const ParamGroup g = group(i);
    std::vector<TensorId> in;
    if (i < gradients_.size()) in = {gradients_[i]};
    collective(g.shards > 1 ? OpKind::kReduceScatter : OpKind::kAllReduce, "reduce gradients",
               g.shards > 1 ? shard_comm(config_.plan, g.expert) : owner_comm(g.expert), i,
               g.elements, dp_.gradient_bytes(), in, {});
    if (g.shards > 1 && g.shards < g.owners)
      collective(OpKind::kAllReduce, "reduce shards", replica_comm(g.expert), i, g.owned(),
                 dp_.gradient_bytes(), {}, {});
  }

  const GraphConfig& config_;
  const DataParallelSpec& dp_;
  StageBuilder b_;
  std::vector<int> group_of_;                                    // of each parameter; -1: none
  std::map<std::pair<Pass, int>, std::vector<Gather>> gathers_;  // by the unit that needs them
  std::map<std::size_t, TensorId> kept_weights_;
  std::vector<TensorId> gradients_;
};

}  // namespace

void add_group_collectives(const GraphConfig& config, StageGraph& g) {
  if (!config.plan.dp.reduces_in_backward() && !config.plan.dp.overlap_param_gather) return;
  g = GroupCollectives(config, std::move(g)).run();
}

}  // namespace orrery
