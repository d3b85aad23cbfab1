#include "sim/graph/optimizer.h"

namespace orrery {
namespace {

constexpr int64_t kGradBytes = 4;    // FP32
constexpr int64_t kMasterBytes = 4;  // FP32
constexpr int64_t kWeightBytes = 2;  // BF16, as gathered

int64_t moment_bytes(const PlanSpec& p) { return p.moments == MomentDtype::kBf16 ? 2 : 4; }

// Reads the gradient, master weight and moments; writes master, moments and the BF16 weight.
int64_t adamw_bytes(const PlanSpec& p) {
  return kGradBytes + 2 * kMasterBytes + 4 * moment_bytes(p) + kWeightBytes;
}

// Reads the BF16 weights (twice where their largest magnitude comes first), writes what products
// read.
int64_t weight_cast_bytes(Precision p) {
  constexpr int64_t kMany = 4096;  // scales are a fraction of a byte each
  const Dtype to = weight_dtype(p);
  if (to == Dtype::kBf16) return 0;
  const int64_t held = tensor_bytes(to, kMany, kMany).count() / (kMany * kMany);
  if (p == Precision::kFp8) return kWeightBytes + held;
  return (needs_amax(p) ? 2 : 1) * kWeightBytes + held - kWeightBytes;
}

class OptimizerBuilder {
 public:
  OptimizerBuilder(const GraphConfig& config, const OptimizerInput& input)
      : b_(config), config_(config), input_(input) {}

  StageGraph build() {
    b_.begin(SegmentKind::kOptimizer, 0, -1);
    sum_tensor_gradients();
    add_embedding_gradients();
    reduce_gradients();
    unscale_gradients();
    const TensorId statistics = reduce_statistics();
    update_weights(statistics);
    balance_routers();
    return b_.finish();
  }

 private:
  // A tensor that only orders the ops: the arrays themselves are held all the time.
  TensorId token(const char* name) {
    return b_.tensor(name, Dtype::kFp32, 1, 1, BufferKind::kWorkspace);
  }

  void collective(OpKind kind, const char* name, CommKind comm, int chunk, int64_t elements,
                  int64_t bytes, std::vector<TensorId> in, TensorId out, int64_t share) {
    b_.stream(StreamKind::kGradient);
    Op& op = b_.op(kind, name, {.m = elements, .n = bytes, .index = share}, std::move(in), {out});
    op.comm = comm;
    op.unit = static_cast<int16_t>(chunk);
    b_.stream(StreamKind::kCompute);
  }

  // Of weights that every rank of the tensor-parallel group holds, each for its own rows or heads.
  void sum_tensor_gradients() {
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const OptimizerShare& s = input_.shares[i];
      if (s.tensor_summed == 0) continue;
      ready_.push_back(token("summed gradients"));
      collective(OpKind::kAllReduce, "sum tensor-parallel gradients", CommKind::kTensor, s.chunk,
                 s.tensor_summed, kGradBytes, {}, ready_.back(), static_cast<int64_t>(i));
    }
  }

  // Before the replicas reduce: the first and the last stage of a pipeline both read the embedding.
  void add_embedding_gradients() {
    const int64_t n = config_.model.vocab / config_.plan.tensor_parallel * config_.model.hidden;
    for (int chunk : input_.chunks_with_shared_embedding) {
      ready_.push_back(token("embedding gradients"));
      collective(OpKind::kAllReduce, "reduce embedding gradients", CommKind::kEmbedding, chunk, n,
                 kGradBytes, {}, ready_.back(), kNoShare);
    }
  }

  // FP16: the loss scale leaves the gradients before anything reads them.
  void unscale_gradients() {
    if (config_.plan.precision != Precision::kFp16) return;
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const TensorId unscaled = token("unscaled gradients");
      b_.op(OpKind::kUnscale, "unscale gradients",
            {.m = input_.shares[i].owned(), .n = 2 * kGradBytes, .index = static_cast<int64_t>(i)},
            {reduced_[i]}, {unscaled});
      reduced_[i] = unscaled;
    }
  }

  void reduce_gradients() {
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const OptimizerShare& s = input_.shares[i];
      reduced_.push_back(token("reduced gradients"));
      collective(s.shards > 1 ? OpKind::kReduceScatter : OpKind::kAllReduce, "reduce gradients",
                 s.comm, s.chunk, s.elements, kGradBytes, ready_, reduced_.back(),
                 static_cast<int64_t>(i));
    }
  }

  TensorId reduce_statistics() {
    const int64_t n = step_statistics(config_.model);
    TensorId local;
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      std::vector<TensorId> in = {reduced_[i]};
      if (local.valid()) in.push_back(local);
      const TensorId sum = b_.tensor("step statistics", Dtype::kFp32, 1, n, BufferKind::kWorkspace);
      b_.op(OpKind::kGradNorm, "gradient norm",
            {.m = input_.shares[i].owned(), .n = kGradBytes, .index = static_cast<int64_t>(i)},
            std::move(in), {sum});
      local = sum;
    }
    const TensorId total = b_.tensor("step totals", Dtype::kFp32, 1, n, BufferKind::kWorkspace);
    collective(OpKind::kAllReduce, "reduce norm", CommKind::kWorld, 0, n, kGradBytes, {local},
               total, kNoShare);
    return total;
  }

  void update_weights(TensorId statistics) {
    std::vector<TensorId> written;
    int64_t elements = 0;
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const OptimizerShare& s = input_.shares[i];
      // With FP8 weights the BF16 ones are temporary; else they are what the kernels read.
      const TensorId updated = b_.fp8() ? b_.tensor("updated weights", Dtype::kBf16, 1, s.elements,
                                                    BufferKind::kWorkspace)
                                        : token("updated weights");
      const auto index = static_cast<int64_t>(i);
      b_.op(OpKind::kAdamW, "adamw",
            {.m = s.owned(), .n = adamw_bytes(config_.plan), .index = index},
            {statistics, reduced_[i]}, {updated});
      b_.last_op().unit = static_cast<int16_t>(s.chunk);
      TensorId whole = updated;
      if (s.shards > 1) {
        whole = token("gathered weights");
        collective(OpKind::kAllGather, "gather weights", s.comm, s.chunk, s.elements, kWeightBytes,
                   {updated}, whole, index);
        if (b_.fp8()) written.push_back(updated);
      }
      written.push_back(whole);
      elements += s.elements;
    }
    b_.op(OpKind::kZeroGrad, "zero gradients", {.m = elements, .n = kGradBytes}, {}, {});
    const int64_t cast_bytes = weight_cast_bytes(config_.plan.precision);
    b_.op(OpKind::kCastWeights, "cast weights", {.m = elements, .n = cast_bytes}, written, {});
  }

  void balance_routers() {
    for (const OptimizerInput::Routers& r : input_.routers) {
      const int64_t loads = config_.model.experts * r.layers;
      const TensorId load = token("expert load");
      // The ranks of a tensor-parallel group route different tokens.
      const bool each = config_.plan.tensor_parallel > 1;
      collective(OpKind::kAllReduce, "reduce expert load",
                 each ? CommKind::kStage : CommKind::kData, r.chunk, loads, kGradBytes, {}, load,
                 kNoShare);
      // Reads the loads and the biases, writes the biases, zeroes the loads.
      b_.op(OpKind::kRouterBias, "update router bias", {.m = loads, .n = 16}, {load}, {});
      b_.last_op().unit = static_cast<int16_t>(r.chunk);
    }
  }

  StageBuilder b_;
  const GraphConfig& config_;
  const OptimizerInput& input_;
  std::vector<TensorId> ready_, reduced_;
};

}  // namespace

int64_t step_statistics(const ModelSpec& m) { return 2 + m.mtp_layers; }

int64_t optimizer_state_bytes(const PlanSpec& plan) {
  return kMasterBytes + 2 * moment_bytes(plan);
}

StageGraph build_optimizer(const GraphConfig& config, const OptimizerInput& input) {
  return OptimizerBuilder(config, input).build();
}

}  // namespace orrery
