// How a model is laid out over a cluster and in which order it runs: Megatron's vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/spec/activation_offload.h"
#include "sim/spec/cluster.h"
#include "sim/spec/data_parallel.h"
#include "sim/spec/model.h"
#include "sim/spec/precision.h"

namespace orrery {

// Formulas and sources of each are in sim/schedule/schedule.h.
enum class ScheduleKind : uint8_t {
  kGPipe,
  k1F1B,
  kInterleaved1F1B,
  kZbH1,
  kZbV,
  kDualPipe,
  kDualPipeV,
};
constexpr int kSchedules = 7;
// "gpipe", "1f1b", "interleaved_1f1b", "zb_h1", "zb_v", "dualpipe", "dualpipe_v"
extern const std::string_view kScheduleNames[kSchedules];

// Of AdamW's moments and Muon's momentum; master weights and gradients are FP32.
enum class MomentDtype : uint8_t { kFp32, kBf16 };
extern const std::string_view kMomentDtypeNames[2];  // "fp32", "bf16"

// Which whole layers are computed again (Megatron's recompute method).
enum class FullRecompute : uint8_t { kNone, kBlock, kUniform };
extern const std::string_view kFullRecomputeNames[3];  // "none", "block", "uniform"
// How attention crosses the ranks that share a sequence: key and value blocks travel around a ring
// (arXiv 2310.01889) with chunks dealt so that causal work is even (rank i of n has chunks i and
// 2n-1-i of 2n; Megatron's "p2p"), or heads are exchanged for positions before and after the core
// (DeepSpeed Ulysses, arXiv 2309.14509; Megatron's "a2a"), each rank having one stretch.
enum class ContextParallelKind : uint8_t { kRing, kAllToAll };
extern const std::string_view kContextParallelNames[2];  // "ring", "all_to_all"

// What the backward pass computes again instead of keeping from the forward pass.
struct Recompute {
  bool norms = false;      // RMSNorm outputs
  bool mla_up = false;     // the MLA up-projections (q_up, kv_up) and what follows to the core
  bool swiglu = false;     // the SwiGLU output
  bool attention = false;  // the attention core (Korthikanti et al., arXiv 2205.05198, section 5)
  // All of a layer from its input but the attention core, every other product in the order of the
  // forward (q, v, gate and down are kept) and what has been summed over the tensor-parallel group:
  // torchtitan's selective checkpointing by op. Gathered rows serve product and weight gradient.
  bool every_second_product = false;
  // Whole layers, their all-to-alls included, from a saved input. kBlock: the first `full_layers`
  // layers of each stage, each from its own input; kUniform: every layer of the stage,
  // `full_layers` after each other from the input of the first of them.
  FullRecompute full = FullRecompute::kNone;
  int64_t full_layers = 1;
};

struct PlanSpec {
  std::string name;
  int64_t pipeline_parallel = 1;
  int64_t expert_parallel = 1;
  int64_t data_parallel = 1;  // pipelines, each of tensor_parallel x context_parallel ranks a stage
  // Megatron-LM's tensor parallelism (arXiv 1909.08053): heads, FFN columns and vocabulary split.
  int64_t tensor_parallel = 1;
  // Rows of the residual stream split over the tensor-parallel group (arXiv 2205.05198). Without
  // effect when tensor_parallel is 1.
  bool sequence_parallel = false;
  // Rows of one rank after the other travel while products of those that have come are computed, as
  // Transformer Engine's userbuffers and PyTorch's asynchronous tensor parallelism do; needs
  // sequence_parallel.
  bool overlap_tensor_parallel = false;
  int64_t context_parallel = 1;  // ranks that share each sequence
  ContextParallelKind context_parallel_kind = ContextParallelKind::kRing;
  // Expert weights are split over it by width, whatever tensor_parallel is (parallel folding, arXiv
  // 2504.14960). Expert groups are expert_parallel x expert_tensor_parallel consecutive ranks of a
  // stage. Megatron takes tensor_parallel when it is not given; here the default is 1.
  int64_t expert_tensor_parallel = 1;
  int64_t micro_batch = 1;   // sequences per micro-batch
  int64_t global_batch = 1;  // sequences per optimizer step
  int64_t sequence_length = 4096;
  Precision precision = Precision::kBf16;
  // Layers at the ends of the model whose products stay BF16 (Megatron's
  // --num-layers-at-start-in-bf16 and its counterpart).
  int64_t bf16_layers_at_start = 0, bf16_layers_at_end = 0;
  // Queries, keys and values, and the gradient of the attention core's output, are cast to FP8 and
  // the core computes in it (Transformer Engine's fp8_dot_product_attention); its results are BF16.
  bool fp8_attention = false;
  MomentDtype moments = MomentDtype::kFp32;
  ScheduleKind schedule = ScheduleKind::k1F1B;
  // Model chunks per pipeline rank (Megatron's virtual pipeline). Interleaved: rank r holds stages
  // r, r + pipeline_parallel, ...; zb_v and dualpipe_v always have 2: r and the r-th from the end.
  int64_t virtual_pipeline = 1;
  // Transformer layers of each of the stages() stages in model order; see split_layers. The
  // embedding is on the first stage, the final norm, head and MTP modules on the last.
  std::vector<int64_t> layers_per_stage;
  // When layers_per_stage is left out: of the first and last stage; absent: as many as the others.
  std::optional<int64_t> layers_on_first_stage, layers_on_last_stage;
  Recompute recompute;
  std::optional<ActivationOffload> offload_activations;  // absent: activations stay on the GPU
  DataParallelSpec dp;
  // Forwards and backwards in overlapped pairs where the schedule has them, and compute that can do
  // without an all-to-all beside it; else every all-to-all holds up the compute stream.
  bool overlap_expert_parallel = false;
  int64_t max_nodes_per_token = 0;  // node-limited routing; 0: no limit

  int64_t stages() const { return pipeline_parallel * virtual_pipeline; }
  int64_t micro_batches() const { return global_batch / (data_parallel * micro_batch); }
  int64_t tokens_per_micro_batch() const { return micro_batch * sequence_length; }
  // Of a micro-batch on one rank: tokens, and rows of the residual stream.
  int64_t tokens_per_rank() const { return tokens_per_micro_batch() / context_parallel; }
  int64_t rows_per_rank() const {
    return tokens_per_rank() / (splits_rows() ? tensor_parallel : 1);
  }
  bool pipelines_rows() const { return splits_rows() && overlap_tensor_parallel; }
  bool splits_rows() const { return sequence_parallel && tensor_parallel > 1; }
  // Ranks of one pipeline stage, numbered tensor, then context, then data: Megatron's tp-cp-dp-pp.
  int64_t stage_ranks() const { return data_parallel * context_parallel * tensor_parallel; }
  int64_t expert_ranks() const { return expert_parallel * expert_tensor_parallel; }
  int64_t world_size() const { return pipeline_parallel * stage_ranks(); }
};

PlanSpec read_plan(json::Reader r);
// Fills layers_per_stage where the plan leaves it out: as many layers on every stage (those with a
// number of their own apart), the first stages one more where that does not come out even.
void split_layers(PlanSpec& p, const ModelSpec& m);
// "pipeline_parallel 2 x data_parallel 4", with context and tensor parallelism where they are used.
std::string layout_product(const PlanSpec& p);
// The rules between plan, model and cluster that do not hold, one sentence each, naming every
// field that takes part.
std::vector<std::string> check_plan(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c);

}  // namespace orrery
