// How a model is laid out over a cluster and in which order it runs: Megatron's vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/spec/cluster.h"
#include "sim/spec/model.h"

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

// Of matrix products, what tokens travel in between experts, and what is kept for the backward.
enum class Precision : uint8_t { kBf16, kFp8 };
extern const std::string_view kPrecisionNames[2];  // "bf16", "fp8" (1x128 and 128x128 scales)

// Of AdamW's moments; master weights and gradients are FP32.
enum class MomentDtype : uint8_t { kFp32, kBf16 };
extern const std::string_view kMomentDtypeNames[2];  // "fp32", "bf16"

// Which whole layers are computed again (Megatron's recompute method).
enum class FullRecompute : uint8_t { kNone, kBlock, kUniform };
extern const std::string_view kFullRecomputeNames[3];  // "none", "block", "uniform"

// What the backward pass computes again instead of keeping from the forward pass.
struct Recompute {
  bool norms = false;      // RMSNorm outputs
  bool mla_up = false;     // the MLA up-projections (q_up, kv_up) and what follows to the core
  bool swiglu = false;     // the SwiGLU output
  bool attention = false;  // the attention core (Korthikanti et al., arXiv 2205.05198, section 5)
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
  int64_t data_parallel = 1;  // pipelines; expert-parallel groups lie inside it
  int64_t micro_batch = 1;    // sequences per micro-batch
  int64_t global_batch = 1;   // sequences per optimizer step
  int64_t sequence_length = 4096;
  Precision precision = Precision::kBf16;
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
  int64_t zero_stage = 1;  // 0 or 1: optimizer states sharded over the data-parallel replicas
  // The chunks whose backward leaves its weight gradients for later (zero-bubble W) or overlaps a
  // forward are fixed by the schedule; this asks for the overlapped pairs.
  bool overlap_expert_parallel = false;
  int64_t max_nodes_per_token = 0;  // node-limited routing; 0: no limit

  int64_t stages() const { return pipeline_parallel * virtual_pipeline; }
  int64_t micro_batches() const { return global_batch / (data_parallel * micro_batch); }
  int64_t tokens_per_micro_batch() const { return micro_batch * sequence_length; }
  int64_t world_size() const { return pipeline_parallel * data_parallel; }
};

PlanSpec read_plan(json::Reader r);
// Fills layers_per_stage where the plan leaves it out: as many layers on every stage (those with a
// number of their own apart), the first stages one more where that does not come out even.
void split_layers(PlanSpec& p, const ModelSpec& m);
// The rules between plan, model and cluster that do not hold, one sentence each, naming every
// field that takes part.
std::vector<std::string> check_plan(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c);

}  // namespace orrery
