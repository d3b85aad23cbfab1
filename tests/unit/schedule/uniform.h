// Pipelines of equal stages whose op times are set by hand, for formulas that hold there.
#pragma once

#include <fmt/format.h>

#include "sim/exec/sim_backend.h"
#include "sim/exec/verify_backend.h"
#include "sim/schedule/compile_plan.h"
#include "tests/unit/deepseek.h"

namespace orrery {

// One dense layer per stage, one GPU per pipeline rank.
inline StudySpec uniform_pipeline(const std::string& schedule, int ranks, int chunks, int batches,
                                  const std::vector<std::string>& more = {}) {
  const int stages = ranks * chunks;
  std::vector<std::string> o = {fmt::format("/model/num_hidden_layers={}", stages),
                                fmt::format("/model/first_k_dense_replace={}", stages),
                                "/model/num_nextn_predict_layers=0",
                                "/cluster/nodes=1",
                                fmt::format("/cluster/node/gpus={}", ranks),
                                fmt::format("/plan/pipeline_parallel={}", ranks),
                                fmt::format("/plan/virtual_pipeline={}", chunks),
                                "/plan/layers_per_stage=[]",
                                "/plan/data_parallel=1",
                                "/plan/expert_parallel=1",
                                "/plan/overlap_expert_parallel=false",
                                "/plan/max_nodes_per_token=0",
                                fmt::format("/plan/global_batch={}", batches),
                                "/plan/sequence_length=128",
                                "/plan/schedule=" + schedule,
                                "/phases=[]",
                                "/published=[]"};
  o.insert(o.end(), more.begin(), more.end());
  return deepseek(o);
}

// Microseconds of the forward, the input-only backward and the weight gradients of one stage; all
// else, transfers included, takes a picosecond.
struct StageTimes {
  int64_t forward = 100, backward = 100, weight = 100;
  // Where in the layer: in an overlapped pair, what the MLP's backward and weight gradients take is
  // before the end of both passes, so that the pair is one piece as formulas have it.
  bool in_mlp = false;
};

inline PlanTiming stage_timing(const ExecPlan& plan, const StageTimes& t) {
  std::vector<OpTiming> out(plan.ops.size());
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    const Op& op = plan.graph_op(plan.ops[i]);
    int64_t us = 0;
    if (op.kind == OpKind::kAttention) us = t.forward;
    if (op.name == (t.in_mlp ? "mlp down dgrad" : "attention core bwd")) us = t.backward;
    if (op.name == (t.in_mlp ? "mlp down wgrad" : "o_proj wgrad")) us = t.weight;
    out[i].resource = op_resource(op.kind);
    for (Picos& d : out[i].duration) d = Picos(us == 0 ? 1 : us * 1'000'000);
  }
  return PlanTiming(out);
}

// Microseconds of a step.
inline double uniform_step(const StudySpec& s, const StageTimes& t) {
  const ExecPlan plan = compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
  verify_or_throw(plan);
  const StepTrace trace = simulate(plan, stage_timing(plan, t), {});
  return static_cast<double>(trace.step.count()) * 1e-6;
}

}  // namespace orrery
