#include <fmt/format.h>

#include <algorithm>

#include "sim/spec/plan_rules.h"

namespace orrery {
namespace {

void check_data_parallel(const PlanSpec& p, std::vector<std::string>& out) {
  const DataParallelSpec& d = p.dp;
  const auto need = [&](bool holds, std::string rule) {
    if (!holds) out.push_back(std::move(rule));
  };
  if (d.shard_group > 0) {
    need(d.shards_states(),
         fmt::format("shard_group {} splits nothing with zero_stage 0", d.shard_group));
    const int64_t owners = p.data_parallel * p.context_parallel;
    need(owners % d.shard_group == 0,
         fmt::format("shard_group {} does not divide data_parallel {} x context_parallel {}",
                     d.shard_group, p.data_parallel, p.context_parallel));
    need(d.shard_group * p.tensor_parallel % p.expert_ranks() == 0,
         fmt::format("the ranks that hold all experts, {}, do not divide shard_group {} x "
                     "tensor_parallel {}",
                     p.expert_ranks(), d.shard_group, p.tensor_parallel));
    need(p.schedule != ScheduleKind::kDualPipe,
         "shard_group is not supported with schedule dualpipe, which holds each stage twice");
  }
  need(
      d.zero_stage >= 2 || !d.reduce_every_micro_batch,
      fmt::format("reduce_every_micro_batch needs zero_stage 2 or 3, found {}: whole gradients are "
                  "accumulated and reduced once",
                  d.zero_stage));
  need(d.zero_stage < 2 || d.overlap_grad_reduce,
       fmt::format("zero_stage {} reduces gradients during the backward: overlap_grad_reduce false "
                   "is not supported with it",
                   d.zero_stage));
  need(d.zero_stage < 3 || d.overlap_param_gather,
       "zero_stage 3 gathers weights unit by unit: overlap_param_gather false is not supported");
  need(d.zero_stage != 0 || !d.overlap_param_gather,
       "overlap_param_gather needs zero_stage 1 to 3: with 0 every replica has all weights");
  need(
      d.bucket_parameters == 0 || d.by_bucket(),
      "bucket_parameters needs zero_stage 0 or 1 with overlap_grad_reduce or overlap_param_gather");
  need(d.shards_weights() || d.reshard_after_forward,
       fmt::format("reshard_after_forward false needs zero_stage 3, found {}", d.zero_stage));
  need(
      d.reshard_after_forward || !d.shards_weights() || p.pipeline_parallel == 1,
      fmt::format("reshard_after_forward false keeps weights from a forward to its backward, which "
                  "pipeline_parallel {} overlaps with other micro-batches': use zero_stage 2 with "
                  "overlap_param_gather, which keeps them for the whole step",
                  p.pipeline_parallel));
  need(d.gather_dtype == GatherDtype::kBf16 ||
           (d.shards_weights() && weight_dtype(p.precision) != Dtype::kBf16),
       "gather_dtype fp8 needs zero_stage 3 and a precision with 8-bit weights");
}

// A Newton-Schulz iteration is of a whole matrix, on one rank.
void check_muon(const PlanSpec& p, std::vector<std::string>& out) {
  const DataParallelSpec& d = p.dp;
  if (d.optimizer != OptimizerKind::kMuon) {
    if (d.newton_schulz_steps != kNewtonSchulzSteps)
      out.push_back(fmt::format("newton_schulz_steps {} needs optimizer muon, found {}",
                                d.newton_schulz_steps,
                                kOptimizerNames[static_cast<std::size_t>(d.optimizer)]));
    return;
  }
  if (p.tensor_parallel > 1 || p.expert_tensor_parallel > 1)
    out.push_back(
        fmt::format("optimizer muon needs whole matrices: tensor_parallel 1 and "
                    "expert_tensor_parallel 1; found {} and {}",
                    p.tensor_parallel, p.expert_tensor_parallel));
  if (d.zero_stage > 1 || d.overlap_grad_reduce || d.overlap_param_gather)
    out.push_back(
        fmt::format("optimizer muon needs zero_stage 0 or 1 without overlap_grad_reduce and "
                    "overlap_param_gather; found zero_stage {}, {} and {}",
                    d.zero_stage, d.overlap_grad_reduce, d.overlap_param_gather));
  if (d.shard_group > 0)
    out.push_back(fmt::format("optimizer muon needs shard_group 0, found {}", d.shard_group));
}

void check_host_link(std::string_view key, const ClusterSpec& c, std::vector<std::string>& out) {
  if (c.node.host_copy_per_rank().count() > 0) return;
  out.push_back(
      fmt::format("{} needs the node's host_link_GBps, host_link_effective_GBps "
                  "and host_memory_GBps, which the profile of {} does not have",
                  key, c.node.name));
}

void check_offload(const PlanSpec& p, const ClusterSpec& c, std::vector<std::string>& out) {
  const DataParallelSpec& d = p.dp;
  if (!d.offload_optimizer) return;
  if (d.optimizer == OptimizerKind::kSgd)
    out.push_back(
        "offload_optimizer needs optimizer adamw or muon, found sgd, which has no moments");
  if (d.shards_weights())
    out.push_back(
        fmt::format("offload_optimizer needs zero_stage 0 to 2, found {}: the master weights are "
                    "gathered from the GPU",
                    d.zero_stage));
  check_host_link("offload_optimizer", c, out);
}

void check_activation_offload(const PlanSpec& p, const ClusterSpec& c,
                              std::vector<std::string>& out) {
  if (!p.offload_activations) return;
  const auto most = std::max_element(p.layers_per_stage.begin(), p.layers_per_stage.end());
  const std::optional<int64_t>& layers = p.offload_activations->layers;
  if (layers && most != p.layers_per_stage.end() && *layers > *most)
    out.push_back(
        fmt::format("offload_activations.layers {} exceeds the {} layers of the fullest "
                    "stage; leave it out to offload all",
                    *layers, *most));
  check_host_link("offload_activations", c, out);
}

}  // namespace

void check_states(const PlanSpec& p, const ClusterSpec& c, std::vector<std::string>& out) {
  check_data_parallel(p, out);
  check_muon(p, out);
  check_offload(p, c, out);
  check_activation_offload(p, c, out);
}

}  // namespace orrery
