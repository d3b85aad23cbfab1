// The optimizer step of a rank: gradient reduction over the replicas of each weight, clipping by
// the global norm, AdamW or Muon on the owned shard (ZeRO-1), gathering of the new weights; and the
// auxiliary-loss-free balancing of the routers.
#pragma once

#include <vector>

#include "sim/graph/stage_builder.h"

namespace orrery {

// Weights with the same replicas: the dense or the expert part of one model chunk, one after the
// other in the order of the stage's parameters, each padded to whole 128-element chunks. Gradients
// (FP32), master weights, moments and gathered weights are such flat arrays. Muon's matrices of one
// size are a share of their own, without gaps between them (muon.h).
struct OptimizerShare {
  int chunk = 0;
  int stage = 0;
  int group = 0;                    // of the stage's ParamGroups
  CommKind comm = CommKind::kData;  // over which gradients are reduced, and states split
  std::vector<ParamId> params;      // of the stage
  std::vector<int64_t> offsets;     // where each starts
  int64_t elements = 0;             // of all, padded to a multiple of shards x 128
  MatrixStack matrices;             // of Muon: what the share is made of; else empty
  int64_t owners = 1;               // replicas that reduce their gradients together
  int64_t tensor_replicated = 0;    // leading elements that are the same on all ranks of the
                                    // tensor-parallel group,
  int64_t tensor_summed = 0;        // and of these the first, whose gradients are summed over it
  int64_t shards = 1;               // over which the states are split: owners, or 1 with ZeRO-0
  // Of a stage that repeats the first stage's embedding: left out of the gradient norm.
  ParamId repeated;
  // What is held all the time: gradients and weights whole, or the owned shard of the gradients and
  // no weights but the master weights.
  bool gradients_sharded = false;
  bool weights_sharded = false;
  bool shared_embedding = false;   // the embedding alone, which another stage has too
  int64_t written_gradients = 0;   // elements of Param::gradient_written
  bool cast_in_optimizer = false;  // StackSpec::casts_in_optimizer
  Bytes kernel_weights{0};         // what kernels read

  bool muon() const { return !matrices.empty(); }
  ShardRange shard(int64_t i) const { return shard_range(elements, matrices, shards, i); }
  int64_t owned() const { return shard(0).elements; }  // of the shard that has most
  int64_t held_gradients() const { return gradients_sharded ? owned() : elements; }
  CommKind replica_comm() const;  // HSDP: the owners of the same shard
};
constexpr int64_t kNoShare = -1;  // OpShape::index of collectives on other arrays

// What the optimizer of a rank works on, apart from shares.
struct OptimizerInput {
  std::vector<OptimizerShare> shares;
  std::vector<int> chunks_with_shared_embedding;  // whose gradient another stage adds to
  struct Routers {
    int chunk;
    int64_t layers;
  };
  std::vector<Routers> routers;  // balanced without an auxiliary loss
};

// Reduced over all ranks in one collective: sum of squares of the gradients, then the loss of each
// head.
int64_t step_statistics(const ModelSpec& m);

// FP32 master weights and the moments in the plan's type (of Muon one, else two); new weights are
// gathered in BF16 and, with FP8 weights, cast.
StageGraph build_optimizer(const GraphConfig& config, const OptimizerInput& input);
int64_t optimizer_state_bytes(const PlanSpec& plan, bool muon);  // per owned parameter
// Per parameter of what is held all the time. Shards are accumulated in FP32, whole gradients in
// the type in which they are reduced, as Megatron does.
int64_t held_gradient_bytes(const PlanSpec& plan);

}  // namespace orrery
