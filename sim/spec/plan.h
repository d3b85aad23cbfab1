// How a model is laid out over a cluster and in which order it runs: Megatron's vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/spec/cluster.h"
#include "sim/spec/model.h"
#include "sim/spec/precision.h"

namespace orrery {

enum class ScheduleKind : uint8_t { k1F1B, kDualPipe };
extern const std::string_view kScheduleNames[2];  // "1f1b", "dualpipe"

// Of AdamW's moments; master weights and gradients are FP32.
enum class MomentDtype : uint8_t { kFp32, kBf16 };
extern const std::string_view kMomentDtypeNames[2];  // "fp32", "bf16"

// What the backward pass computes again instead of keeping from the forward pass.
struct Recompute {
  bool norms = false;   // RMSNorm outputs
  bool mla_up = false;  // the MLA up-projections (q_up, kv_up) and what follows to the core
  bool swiglu = false;  // the SwiGLU output
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
  // Layers at the ends of the model whose products stay BF16 (Megatron's
  // --num-layers-at-start-in-bf16 and its counterpart).
  int64_t bf16_layers_at_start = 0, bf16_layers_at_end = 0;
  MomentDtype moments = MomentDtype::kFp32;
  ScheduleKind schedule = ScheduleKind::k1F1B;
  // Transformer layers of each pipeline stage, first to last. The embedding is on the first stage,
  // the final norm, head and MTP modules on the last.
  std::vector<int64_t> layers_per_stage;
  Recompute recompute;
  int64_t zero_stage = 1;  // 0 or 1: optimizer states sharded over the data-parallel replicas
  // The chunks whose backward leaves its weight gradients for later (zero-bubble W) or overlaps a
  // forward are fixed by the schedule; this asks for the overlapped pairs.
  bool overlap_expert_parallel = false;
  int64_t max_nodes_per_token = 0;  // node-limited routing; 0: no limit

  int64_t micro_batches() const { return global_batch / (data_parallel * micro_batch); }
  int64_t tokens_per_micro_batch() const { return micro_batch * sequence_length; }
  int64_t world_size() const { return pipeline_parallel * data_parallel; }
};

PlanSpec read_plan(json::Reader r);
// The rules between plan, model and cluster that do not hold, one sentence each, naming every
// field that takes part.
std::vector<std::string> check_plan(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c);

}  // namespace orrery
