#include "sim/spec/data_parallel.h"

namespace orrery {

const std::string_view kReduceDtypeNames[2] = {"fp32", "bf16"};
const std::string_view kGatherDtypeNames[2] = {"bf16", "fp8"};
const std::string_view kOptimizerNames[3] = {"adamw", "sgd", "muon"};

DataParallelSpec read_data_parallel(json::Reader& r) {
  DataParallelSpec d;
  d.zero_stage = r.integer_or("zero_stage", 1, {0, 3});
  d.shard_group = r.integer_or("shard_group", 0, {0, 131072});
  d.reduce_every_micro_batch = r.boolean_or("reduce_every_micro_batch", d.zero_stage >= 2);
  d.overlap_grad_reduce = r.boolean_or("overlap_grad_reduce", d.zero_stage >= 2);
  d.overlap_param_gather = r.boolean_or("overlap_param_gather", d.zero_stage == 3);
  d.bucket_parameters = r.integer_or("bucket_parameters", 0, {0, 1e12});
  d.reshard_after_forward = r.boolean_or("reshard_after_forward", true);
  d.one_unit_for_ends = r.boolean_or("one_unit_for_ends", false);
  d.gradient_dtype = static_cast<ReduceDtype>(r.choice_or("gradient_dtype", 0, kReduceDtypeNames));
  d.gather_dtype = static_cast<GatherDtype>(r.choice_or("gather_dtype", 0, kGatherDtypeNames));
  d.optimizer = static_cast<OptimizerKind>(r.choice_or("optimizer", 0, kOptimizerNames));
  d.offload_optimizer = r.boolean_or("offload_optimizer", false);
  d.offload_chunk_parameters =
      r.integer_or("offload_chunk_parameters", d.offload_chunk_parameters, {128, 1e12});
  d.newton_schulz_steps = r.integer_or("newton_schulz_steps", kNewtonSchulzSteps, {1, 100});
  return d;
}

}  // namespace orrery
