#include "sim/graph/optimizer.h"

#include <algorithm>

#include "sim/graph/muon.h"
#include "sim/graph/param_groups.h"
#include "sim/graph/state_copies.h"

namespace orrery {
namespace {

constexpr int64_t kGradBytes = 4;    // FP32, of shards and statistics
constexpr int64_t kMasterBytes = 4;  // FP32
constexpr int64_t kWeightBytes = 2;  // BF16, as gathered

// Of all moments of a parameter.
int64_t moment_bytes(const PlanSpec& p, bool muon) {
  const int64_t moments = p.dp.optimizer == OptimizerKind::kSgd ? 0 : muon ? 1 : 2;
  return moments * (p.moments == MomentDtype::kBf16 ? 2 : 4);
}

// AdamW reads the gradient, master weight and moments; writes master and moments and, unless it is
// gathered from the master weights, the BF16 weight.
int64_t update_bytes(const PlanSpec& p) {
  return held_gradient_bytes(p) + 2 * kMasterBytes + 2 * moment_bytes(p, false) +
         (p.dp.shards_weights() ? 0 : kWeightBytes);
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
      : b_(config), config_(config), input_(input), copies_(b_, config.plan, input.shares) {}

  StageGraph build() {
    b_.begin(SegmentKind::kOptimizer, 0, -1);
    reduced_.resize(input_.shares.size());
    const bool reduced = config_.plan.dp.reduces_in_backward();
    sum_tensor_gradients(reduced);
    if (reduced)
      add_embedding_shards();
    else
      add_embedding_gradients(), reduce_gradients();
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
  // Where the replicas have reduced them already, of the owned shard.
  void sum_tensor_gradients(bool reduced) {
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const OptimizerShare& s = input_.shares[i];
      if (s.tensor_summed == 0) continue;
      const TensorId sum = token("summed gradients");
      if (reduced)
        reduced_[i] = sum;
      else
        ready_.push_back(sum);
      const int64_t elements = reduced ? std::min(s.tensor_summed, s.owned()) : s.tensor_summed;
      collective(OpKind::kAllReduce, "sum tensor-parallel gradients", CommKind::kTensor, s.chunk,
                 elements, held_gradient_bytes(config_.plan), {}, sum, static_cast<int64_t>(i));
    }
  }

  // Before the replicas reduce: the first and the last stage of a pipeline both read the embedding.
  void add_embedding_gradients() {
    const int64_t n = config_.model.vocab / config_.plan.tensor_parallel * config_.model.hidden;
    for (int chunk : input_.chunks_with_shared_embedding) {
      ready_.push_back(token("embedding gradients"));
      collective(OpKind::kAllReduce, "reduce embedding gradients", CommKind::kEmbedding, chunk, n,
                 held_gradient_bytes(config_.plan), {}, ready_.back(), kNoShare);
    }
  }

  // After the replicas have reduced: of the embedding, a group of its own, its shards.
  void add_embedding_shards() {
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const OptimizerShare& s = input_.shares[i];
      if (!s.shared_embedding) continue;
      reduced_[i] = token("embedding gradients");
      collective(OpKind::kAllReduce, "reduce embedding gradients", CommKind::kEmbedding, s.chunk,
                 s.owned(), held_gradient_bytes(config_.plan), {}, reduced_[i],
                 static_cast<int64_t>(i));
    }
  }

  // FP16: the loss scale leaves the gradients before anything reads them.
  void unscale_gradients() {
    if (config_.plan.precision != Precision::kFp16) return;
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const TensorId unscaled = token("unscaled gradients");
      b_.op(OpKind::kUnscale, "unscale gradients",
            {.m = input_.shares[i].owned(), .n = 2 * kGradBytes, .index = static_cast<int64_t>(i)},
            reduced_[i].valid() ? std::vector{reduced_[i]} : std::vector<TensorId>{}, {unscaled});
      reduced_[i] = unscaled;
    }
  }

  void reduce_gradients() {
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const OptimizerShare& s = input_.shares[i];
      const auto index = static_cast<int64_t>(i);
      const int64_t bytes = config_.plan.dp.gradient_bytes();
      reduced_[i] = token("reduced gradients");
      collective(s.shards > 1 ? OpKind::kReduceScatter : OpKind::kAllReduce, "reduce gradients",
                 s.comm, s.chunk, s.elements, bytes, ready_, reduced_[i], index);
      if (s.shards == 1 || s.shards == s.owners) continue;
      const TensorId shard = reduced_[i];
      reduced_[i] = token("reduced shards");
      collective(OpKind::kAllReduce, "reduce shards", s.replica_comm(), s.chunk, s.owned(), bytes,
                 {shard}, reduced_[i], index);
    }
  }

  TensorId reduce_statistics() {
    const int64_t n = step_statistics(config_.model);
    TensorId local;
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      std::vector<TensorId> in;
      for (TensorId t : {reduced_[i], local})
        if (t.valid()) in.push_back(t);
      const TensorId sum = b_.tensor("step statistics", Dtype::kFp32, 1, n, BufferKind::kWorkspace);
      b_.op(OpKind::kGradNorm, "gradient norm",
            {.m = input_.shares[i].owned(),
             .n = held_gradient_bytes(config_.plan),
             .index = static_cast<int64_t>(i)},
            std::move(in), {sum});
      local = sum;
    }
    const TensorId total = b_.tensor("step totals", Dtype::kFp32, 1, n, BufferKind::kWorkspace);
    collective(OpKind::kAllReduce, "reduce norm", CommKind::kWorld, 0, n, kGradBytes, {local},
               total, kNoShare);
    return total;
  }

  void update_weights(TensorId statistics) {
    const DataParallelSpec& dp = config_.plan.dp;
    std::vector<TensorId> written;
    int64_t weights = 0, gradients = 0;
    for (std::size_t i = 0; i < input_.shares.size(); ++i) {
      const OptimizerShare& s = input_.shares[i];
      // With FP8 weights the BF16 ones are temporary; else they are what the kernels read.
      const bool temporary = b_.fp8() && !s.weights_sharded && !s.cast_in_optimizer;
      const TensorId updated = temporary ? b_.tensor("updated weights", Dtype::kBf16, 1, s.elements,
                                                     BufferKind::kWorkspace)
                                         : token("updated weights");
      const auto index = static_cast<int64_t>(i);
      update_share(i, statistics, updated);
      gradients += s.held_gradients() - s.written_gradients;
      if (s.weights_sharded || s.cast_in_optimizer) continue;
      weights += s.elements;
      TensorId whole = updated;
      if (s.shards > 1 && !dp.overlap_param_gather) {
        whole = token("gathered weights");
        collective(OpKind::kAllGather, "gather weights", s.comm, s.chunk, s.elements, kWeightBytes,
                   {updated}, whole, index);
        if (b_.fp8()) written.push_back(updated);
      }
      written.push_back(whole);
    }
    b_.op(OpKind::kZeroGrad, "zero gradients",
          {.m = gradients, .n = held_gradient_bytes(config_.plan)}, {}, {});
    if (weights == 0) return;
    const int64_t cast_bytes = weight_cast_bytes(config_.plan.precision);
    b_.op(OpKind::kCastWeights, "cast weights", {.m = weights, .n = cast_bytes}, written, {});
  }

  void update_share(std::size_t i, TensorId statistics, TensorId updated) {
    const OptimizerShare& s = input_.shares[i];
    const auto index = static_cast<int64_t>(i);
    std::vector<TensorId> after = {statistics};
    if (reduced_[i].valid()) after.push_back(reduced_[i]);
    if (s.muon()) return muon_update(b_, config_.plan, s, index, copies_, after, updated);
    for (const UpdateChunk& c : update_chunks(config_.plan, s)) {
      std::vector<TensorId> in = after, out = {updated};
      if (copies_.on()) {
        in.push_back(copies_.next());
        out.push_back(copies_.changed());
      }
      b_.op(OpKind::kAdamW, "adamw",
            {.m = c.elements, .n = update_bytes(config_.plan), .first = c.first, .index = index},
            in, out);
      b_.last_op().unit = static_cast<int16_t>(s.chunk);
      if (s.cast_in_optimizer)
        b_.last_op().work.hbm += s.kernel_weights - Bytes(kWeightBytes * s.owned());
      if (copies_.on()) copies_.store(out.back());
    }
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
  StateCopies copies_;
  std::vector<TensorId> ready_, reduced_;
};

}  // namespace

int64_t step_statistics(const ModelSpec& m) { return 2 + m.mtp_layers; }

int64_t optimizer_state_bytes(const PlanSpec& plan, bool muon) {
  return kMasterBytes + moment_bytes(plan, muon);
}

int64_t held_gradient_bytes(const PlanSpec& plan) {
  return plan.dp.shards_gradients() ? kGradBytes : plan.dp.gradient_bytes();
}

CommKind OptimizerShare::replica_comm() const {
  return orrery::replica_comm(comm == CommKind::kExpertShard);
}

StageGraph build_optimizer(const GraphConfig& config, const OptimizerInput& input) {
  return OptimizerBuilder(config, input).build();
}

}  // namespace orrery
