#include "runtime/model/device_support.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/attention/shape.h"
#include "sim/base/error.h"

namespace orrery {
namespace {

constexpr std::size_t kMaxRing = kernels::kMaxMergedParts;

bool has_no_kernel(OpKind k) {
  switch (k) {
    case OpKind::kActivationCast:
    case OpKind::kActivationCastTranspose:
    case OpKind::kGate:
    case OpKind::kGateBackward:
    case OpKind::kDropout:
    case OpKind::kDropoutBackward:
    case OpKind::kRepeatHeads:
    case OpKind::kSumHeads:
      return true;
    default:
      return false;
  }
}

bool is_attention(OpKind k) { return k == OpKind::kAttention || k == OpKind::kAttentionBackward; }

// Sums of context parallelism's ring that the stack keeps in FP32 (StackSpec::fp32_ring).
bool sums_in_fp32(const StageGraph& g, const Op& op) {
  if (op.kind != OpKind::kAdd && op.kind != OpKind::kAttentionMerge) return false;
  const Dtype out = g.tensors[g.outputs(op)[0].v].dtype, in = g.tensors[g.inputs(op)[0].v].dtype;
  return out == Dtype::kFp32 || in == Dtype::kFp32;
}

bool is_product(OpKind k) { return k == OpKind::kGemm || k == OpKind::kGemmFp8; }

std::string missing(const StageGraph& g, const Op& op, const ModelSpec& m, int64_t ranks) {
  if (op.kind == OpKind::kStoreActivations && ranks > 1)
    return "activations in host memory on several ranks, which no GPU has run yet";
  switch (op.comm) {
    case CommKind::kShard:
    case CommKind::kReplica:
    case CommKind::kExpertShard:
    case CommKind::kExpertReplica:
      return "HSDP (shard_group)";
    default:
      break;
  }
  switch (op.segment) {
    case SegmentKind::kGatherF:
    case SegmentKind::kGatherB:
    case SegmentKind::kUnshardF:
    case SegmentKind::kUnshardB:
    case SegmentKind::kReduceB:
      return "collectives on weights and gradients beside the passes (zero_stage 2 and 3, "
             "overlap_grad_reduce, overlap_param_gather)";
    default:
      break;
  }
  if (sums_in_fp32(g, op)) return "a ring's sums in FP32 (fp32_ring)";
  if (op.kind == OpKind::kAttentionMerge && g.inputs(op).size() > 2 * kMaxRing)
    return fmt::format("a ring of more than {} ranks", kMaxRing);
  if (has_no_kernel(op.kind)) return fmt::format("op {}", op_kind_name(op.kind));
  const bool of_experts = op.row_proportional && is_product(op.kind) && op.bias.valid();
  if (of_experts || (op.kind == OpKind::kBiasBackward && op.row_proportional))
    return "biases of experts";
  if (is_product(op.kind) && op.bias.valid() && g.tensors[g.outputs(op)[0].v].dtype != Dtype::kBf16)
    return "biases of routers";
  if (is_attention(op.kind)) {
    if (op.shape.window > 0) return "attention with a sliding window";
    if (op.param.valid()) return "attention sinks";
    if (m.position == PositionKind::kAlibi) return "ALiBi";
    if (m.attention_dropout > 0) return "dropout of attention probabilities";
  }
  const bool swiglu = op.kind == OpKind::kSwiGlu || op.kind == OpKind::kSwiGluCast;
  if (swiglu && g.inputs(op).size() > 1) return "gate and up as products of their own";
  if (swiglu && m.activation == Activation::kClippedSwiGlu) return "clipped SwiGLU";
  return "";
}

}  // namespace

std::vector<std::string> missing_on_cuda(const ExecPlan& plan, const ModelSpec& model) {
  std::vector<std::string> all;
  const int64_t ranks = plan.ranks();
  for (const PlanOp& p : plan.ops) {
    std::string what = missing(plan.stages[p.stage], plan.graph_op(p), model, ranks);
    if (!what.empty() && std::find(all.begin(), all.end(), what) == all.end())
      all.push_back(std::move(what));
  }
  for (const RankClass& c : plan.classes)
    for (const Communicator& x : c.communicators)
      if (is_p2p(x.kind) && x.size == 1) {
        all.push_back("transfers between two chunks of one rank");
        return all;
      }
  return all;
}

void require_kernels(bool cuda, const ExecPlan& plan, const ModelSpec& model) {
  if (model.experts > 0 && model.router.capacity_factor > 0)
    throw Error(
        ExitCode::kUnavailable,
        "tokens beyond an expert's capacity are not dropped in a run, only in a prediction: "
        "set /model/moe/capacity_factor to 0");
  for (const StageGraph& g : plan.stages)
    for (const Op& op : g.ops)
      if (is_attention(op.kind) && g.tensors[g.inputs(op)[0].v].dtype != Dtype::kBf16)
        throw Error(ExitCode::kUnavailable,
                    "attention in FP8 is only predicted: set /plan/fp8_attention to false");
  const std::vector<std::string> all =
      cuda ? missing_on_cuda(plan, model) : std::vector<std::string>{};
  if (all.empty()) return;
  throw Error(ExitCode::kUnavailable,
              fmt::format("the CUDA backend does not run {}; --device cpu runs small models",
                          fmt::join(all, ", ")));
}

}  // namespace orrery
