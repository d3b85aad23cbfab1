#include "sim/spec/plan.h"

#include <algorithm>

#include "sim/spec/plan_rules.h"

namespace orrery {

const std::string_view kScheduleNames[kSchedules] = {
    "gpipe", "1f1b", "interleaved_1f1b", "zb_h1", "zb_v", "dualpipe", "dualpipe_v"};
const std::string_view kFullRecomputeNames[3] = {"none", "block", "uniform"};
const std::string_view kContextParallelNames[2] = {"ring", "all_to_all"};
const std::string_view kMomentDtypeNames[2] = {"fp32", "bf16"};

namespace {

void read_stages(json::Reader& r, PlanSpec& p) {
  p.virtual_pipeline = r.integer_or("virtual_pipeline", has_v_shape(p.schedule) ? 2 : 1, {1, 1024});
  if (r.has("layers_per_stage")) p.layers_per_stage = r.integers("layers_per_stage", {0, 10000});
  for (const auto& [key, to] : {std::pair{"layers_on_first_stage", &p.layers_on_first_stage},
                                std::pair{"layers_on_last_stage", &p.layers_on_last_stage}}) {
    if (!r.has(key)) continue;
    *to = r.integer(key, {0, 10000});
    if (!p.layers_per_stage.empty())
      r.fail(key, "layers_per_stage already says how many layers every stage has");
  }
}

}  // namespace

void split_layers(PlanSpec& p, const ModelSpec& m) {
  if (!p.layers_per_stage.empty()) return;
  const int64_t stages = p.stages();
  std::vector<int64_t>& split = p.layers_per_stage;
  split.assign(static_cast<std::size_t>(stages), -1);
  int64_t layers = m.layers, open = stages;
  const auto fix = [&](int64_t& stage, const std::optional<int64_t>& n) {
    if (!n || stage >= 0) return;
    stage = *n;
    layers -= *n;
    --open;
  };
  fix(split.front(), p.layers_on_first_stage);
  fix(split.back(), p.layers_on_last_stage);
  if (open == 0) return;
  layers = std::max<int64_t>(layers, 0);
  int64_t more = layers % open;
  for (int64_t& n : split)
    if (n < 0) n = layers / open + (more-- > 0 ? 1 : 0);
}

PlanSpec read_plan(json::Reader r) {
  PlanSpec p;
  p.name = r.string("name");
  p.pipeline_parallel = r.integer("pipeline_parallel", {1, 1024});
  p.expert_parallel = r.integer_or("expert_parallel", 1, {1, 131072});
  p.data_parallel = r.integer("data_parallel", {1, 131072});
  p.tensor_parallel = r.integer_or("tensor_parallel", 1, {1, 1024});
  p.sequence_parallel = r.boolean_or("sequence_parallel", false);
  p.overlap_tensor_parallel = r.boolean_or("overlap_tensor_parallel", false);
  p.context_parallel = r.integer_or("context_parallel", 1, {1, 1024});
  p.context_parallel_kind = static_cast<ContextParallelKind>(
      r.choice_or("context_parallel_kind", 0, kContextParallelNames));
  p.expert_tensor_parallel = r.integer_or("expert_tensor_parallel", 1, {1, 1024});
  p.micro_batch = r.integer_or("micro_batch", 1, {1, 65536});
  p.global_batch = r.integer("global_batch", {1, 1e9});
  p.sequence_length = r.integer("sequence_length", {1, 1 << 24});
  p.precision = static_cast<Precision>(r.choice_or("precision", 0, kPrecisionNames));
  p.bf16_layers_at_start = r.integer_or("bf16_layers_at_start", 0, {0, 10000});
  p.bf16_layers_at_end = r.integer_or("bf16_layers_at_end", 0, {0, 10000});
  p.fp8_attention = r.boolean_or("fp8_attention", false);
  p.moments = static_cast<MomentDtype>(r.choice_or("moments", 0, kMomentDtypeNames));
  p.schedule = static_cast<ScheduleKind>(r.choice("schedule", kScheduleNames));
  read_stages(r, p);
  if (r.has("recompute")) {
    json::Reader c = r.object("recompute");
    p.recompute.norms = c.boolean_or("norms", false);
    p.recompute.mla_up = c.boolean_or("mla_up", false);
    p.recompute.swiglu = c.boolean_or("swiglu", false);
    p.recompute.attention = c.boolean_or("attention", false);
    p.recompute.every_second_product = c.boolean_or("every_second_product", false);
    p.recompute.full = static_cast<FullRecompute>(c.choice_or("full", 0, kFullRecomputeNames));
    p.recompute.full_layers = c.integer_or("full_layers", 1, {1, 10000});
    c.finish();
  }
  p.offload_activations = read_activation_offload(r);
  p.dp = read_data_parallel(r);
  p.overlap_expert_parallel = r.boolean_or("overlap_expert_parallel", false);
  p.max_nodes_per_token = r.integer_or("max_nodes_per_token", 0, {0, 131072});
  r.ignore("note");
  r.finish();
  return p;
}

std::vector<std::string> check_plan(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c) {
  std::vector<std::string> out;
  check_layout(p, m, c, out);
  check_passes(p, m, c, out);
  check_states(p, c, out);
  return out;
}

}  // namespace orrery
