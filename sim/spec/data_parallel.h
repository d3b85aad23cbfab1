// How the replicas of a stage's weights divide weights, gradients and optimizer states, and when
// they communicate: DDP, ZeRO (arXiv 1910.02054), FSDP (arXiv 2304.11277) and HSDP.
//
// Bytes per parameter of a rank over N shards, AdamW, without what is in flight:
//   zero_stage 0, 1   weights 2, gradients 4 (2 with gradient_dtype bf16), states 12 (1: 12/N)
//   zero_stage 2      weights 2, gradients 4/N, states 12/N
//   zero_stage 3      gradients 4/N, states 12/N: the FP32 master weights are the sharded weights
// Muon has one moment: 8 where AdamW has 12, for the matrices that it updates (sim/graph/muon.h),
// each of which is whole on one of the N shards.
// In flight with stages 2 and 3: the BF16 gradients of the units in the backward; with 3 also the
// gathered weights of a unit and of the one prefetched.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json_reader.h"

namespace orrery {

enum class ReduceDtype : uint8_t { kFp32, kBf16 };
extern const std::string_view kReduceDtypeNames[2];  // "fp32", "bf16"

enum class GatherDtype : uint8_t { kBf16, kFp8 };
extern const std::string_view kGatherDtypeNames[2];  // "bf16", "fp8"

// kSgd: no momentum. kMuon: of the hidden layers' matrices, AdamW of everything else.
enum class OptimizerKind : uint8_t { kAdamW, kSgd, kMuon };
extern const std::string_view kOptimizerNames[3];  // "adamw", "sgd", "muon"
constexpr int64_t kNewtonSchulzSteps = 5;          // Keller Jordan's

struct DataParallelSpec {
  // 0: all replicas hold everything. 1: optimizer states are split (Megatron's distributed
  // optimizer). 2: gradients too. 3: weights too (FSDP's FULL_SHARD).
  int64_t zero_stage = 1;
  // Consecutive replicas over which they are split; the groups hold copies and all-reduce the
  // gradients of their shards (HSDP). 0: all replicas.
  int64_t shard_group = 0;
  // Gradients are reduced after every micro-batch and accumulated as shards (FSDP without no_sync,
  // DeepSpeed's ZeRO-2); else they are accumulated whole and reduced with the last micro-batch.
  bool reduce_every_micro_batch = false;
  // Stages 0 and 1: gradients of a bucket are reduced in the last backward as soon as they are
  // there (Megatron --overlap-grad-reduce), and its weights gathered in the first forward
  // (--overlap-param-gather). Stages 2 and 3 do both by their nature, unit by unit, except that
  // stage 2 gathers its weights as stage 1 does.
  bool overlap_grad_reduce = false;
  bool overlap_param_gather = false;
  int64_t bucket_parameters = 0;  // 0: max(40 M, 1 M x replicas), Megatron's default
  // Stage 3: gathered weights are freed after the forward and gathered again for the backward
  // (FULL_SHARD; FSDP2 reshard_after_forward). false: they stay until the backward (SHARD_GRAD_OP).
  bool reshard_after_forward = true;
  // Stages 2 and 3 of one pipeline stage: embedding, final norm and head are one unit, gathered
  // before the first layer, kept, and reduced after it (FSDP2 where only the layers and the model
  // are wrapped: they are the root's).
  bool one_unit_for_ends = false;
  ReduceDtype gradient_dtype = ReduceDtype::kFp32;  // of the reduction
  GatherDtype gather_dtype = GatherDtype::kBf16;    // stage 3: what travels
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  // Master weights and moments are in host memory and pass through the GPU for their update
  // (sim/graph/state_copies.h), so many parameters at a time.
  bool offload_optimizer = false;
  int64_t offload_chunk_parameters = int64_t{1} << 25;
  int64_t newton_schulz_steps = kNewtonSchulzSteps;  // kMuon (Megatron's --muon-num-ns-steps)

  bool shards_states() const { return zero_stage >= 1; }
  bool shards_gradients() const { return zero_stage >= 2 && reduce_every_micro_batch; }
  bool shards_weights() const { return zero_stage == 3; }
  // Reductions are part of backward blocks, not of the optimizer step.
  bool reduces_in_backward() const { return zero_stage >= 2 || overlap_grad_reduce; }
  // One group of weights per unit (layer or head).
  bool by_unit() const { return zero_stage >= 2; }
  bool by_bucket() const { return !by_unit() && (overlap_grad_reduce || overlap_param_gather); }
  int64_t gradient_bytes() const { return gradient_dtype == ReduceDtype::kBf16 ? 2 : 4; }
};

// Reads the keys of a plan that describe data parallelism; their defaults follow the ZeRO stage.
DataParallelSpec read_data_parallel(json::Reader& plan);

}  // namespace orrery
