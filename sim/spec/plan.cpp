#include "sim/spec/plan.h"

#include <fmt/format.h>

#include <numeric>

namespace orrery {

const std::string_view kScheduleNames[kSchedules] = {
    "gpipe", "1f1b", "interleaved_1f1b", "zb_h1", "zb_v", "dualpipe", "dualpipe_v"};
const std::string_view kPrecisionNames[2] = {"bf16", "fp8"};
const std::string_view kFullRecomputeNames[3] = {"none", "block", "uniform"};
const std::string_view kMomentDtypeNames[2] = {"fp32", "bf16"};

namespace {

bool is_v(ScheduleKind s) { return s == ScheduleKind::kZbV || s == ScheduleKind::kDualPipeV; }

void read_stages(json::Reader& r, PlanSpec& p) {
  p.virtual_pipeline = r.integer_or("virtual_pipeline", is_v(p.schedule) ? 2 : 1, {1, 1024});
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
  p.micro_batch = r.integer_or("micro_batch", 1, {1, 65536});
  p.global_batch = r.integer("global_batch", {1, 1e9});
  p.sequence_length = r.integer("sequence_length", {1, 1 << 24});
  p.precision = static_cast<Precision>(r.choice_or("precision", 0, kPrecisionNames));
  p.moments = static_cast<MomentDtype>(r.choice_or("moments", 0, kMomentDtypeNames));
  p.schedule = static_cast<ScheduleKind>(r.choice("schedule", kScheduleNames));
  read_stages(r, p);
  if (r.has("recompute")) {
    json::Reader c = r.object("recompute");
    p.recompute.norms = c.boolean_or("norms", false);
    p.recompute.mla_up = c.boolean_or("mla_up", false);
    p.recompute.swiglu = c.boolean_or("swiglu", false);
    p.recompute.attention = c.boolean_or("attention", false);
    p.recompute.full = static_cast<FullRecompute>(c.choice_or("full", 0, kFullRecomputeNames));
    p.recompute.full_layers = c.integer_or("full_layers", 1, {1, 10000});
    c.finish();
  }
  p.zero_stage = r.integer_or("zero_stage", 1, {0, 1});
  p.overlap_expert_parallel = r.boolean_or("overlap_expert_parallel", false);
  p.max_nodes_per_token = r.integer_or("max_nodes_per_token", 0, {0, 131072});
  r.ignore("note");
  r.finish();
  return p;
}

namespace {

// Every rule names all the fields that take part in it.
void check_sizes(const PlanSpec& p, const ClusterSpec& c, std::vector<std::string>& out) {
  if (p.world_size() != c.gpus())
    out.push_back(fmt::format(
        "pipeline_parallel {} x data_parallel {} = {} ranks, but the cluster "
        "has nodes {} x gpus {} = {} GPUs",
        p.pipeline_parallel, p.data_parallel, p.world_size(), c.nodes, c.node.gpus, c.gpus()));
  if (p.data_parallel % p.expert_parallel != 0)
    out.push_back(fmt::format("expert_parallel {} does not divide data_parallel {}",
                              p.expert_parallel, p.data_parallel));
  if (p.global_batch % (p.data_parallel * p.micro_batch) != 0)
    out.push_back(fmt::format(
        "global_batch {} is not a multiple of data_parallel {} x micro_batch "
        "{} = {}",
        p.global_batch, p.data_parallel, p.micro_batch, p.data_parallel * p.micro_batch));
}

void check_layers(const PlanSpec& p, const ModelSpec& m, std::vector<std::string>& out) {
  const auto stages = static_cast<int64_t>(p.layers_per_stage.size());
  const int64_t sum =
      std::accumulate(p.layers_per_stage.begin(), p.layers_per_stage.end(), int64_t{0});
  if (stages != p.stages())
    out.push_back(p.virtual_pipeline == 1
                      ? fmt::format("layers_per_stage has {} entries, but pipeline_parallel is {}",
                                    stages, p.pipeline_parallel)
                      : fmt::format("layers_per_stage has {} entries, but pipeline_parallel {} x "
                                    "virtual_pipeline {} = {}",
                                    stages, p.pipeline_parallel, p.virtual_pipeline, p.stages()));
  for (std::size_t i = 0; i + 1 < p.layers_per_stage.size(); ++i)
    if (p.layers_per_stage[i] == 0)
      out.push_back(fmt::format(
          "layers_per_stage[{}] is 0; only the last stage, which has the head, may have no layer",
          i));
  if (sum != m.layers)
    out.push_back(
        fmt::format("layers_per_stage sums to {}, but the model has {} layers "
                    "(num_hidden_layers)",
                    sum, m.layers));
}

void check_experts(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c,
                   std::vector<std::string>& out) {
  if (m.experts == 0) {
    if (p.expert_parallel > 1)
      out.push_back(
          fmt::format("expert_parallel is {}, but the model has no experts", p.expert_parallel));
    return;
  }
  if (m.experts % p.expert_parallel != 0)
    out.push_back(fmt::format("expert_parallel {} does not divide the model's {} routed experts",
                              p.expert_parallel, m.experts));
  const int64_t nodes = (p.expert_parallel + c.node.gpus - 1) / c.node.gpus;
  if (p.max_nodes_per_token > nodes)
    out.push_back(
        fmt::format("max_nodes_per_token {} exceeds the {} nodes that expert_parallel {} "
                    "spans with {} GPUs a node",
                    p.max_nodes_per_token, nodes, p.expert_parallel, c.node.gpus));
}

std::string micro_batches_text(const PlanSpec& p) {
  return fmt::format("global_batch {} / (data_parallel {} x micro_batch {}) = {}", p.global_batch,
                     p.data_parallel, p.micro_batch, p.micro_batches());
}

void check_chunks(const PlanSpec& p, std::vector<std::string>& out) {
  const auto name = kScheduleNames[static_cast<std::size_t>(p.schedule)];
  const bool interleaved = p.schedule == ScheduleKind::kInterleaved1F1B;
  if (interleaved && p.virtual_pipeline < 2)
    out.push_back(fmt::format("schedule {} needs virtual_pipeline of at least 2, found {}", name,
                              p.virtual_pipeline));
  if (is_v(p.schedule) && p.virtual_pipeline != 2)
    out.push_back(
        fmt::format("schedule {} has virtual_pipeline 2, found {}", name, p.virtual_pipeline));
  if (!interleaved && !is_v(p.schedule) && p.virtual_pipeline != 1)
    out.push_back(
        fmt::format("schedule {} has one model chunk per rank, but virtual_pipeline is {};"
                    " use interleaved_1f1b, zb_v or dualpipe_v",
                    name, p.virtual_pipeline));
  if ((interleaved || is_v(p.schedule)) && p.pipeline_parallel < 2)
    out.push_back(fmt::format("schedule {} needs pipeline_parallel of at least 2, found {}", name,
                              p.pipeline_parallel));
}

void check_recompute(const PlanSpec& p, std::vector<std::string>& out) {
  const Recompute& r = p.recompute;
  if (r.full != FullRecompute::kNone && (r.norms || r.mla_up || r.swiglu || r.attention))
    out.push_back(
        fmt::format("recompute.full is \"{}\", which computes whole layers again; leave out norms, "
                    "mla_up, swiglu and attention",
                    kFullRecomputeNames[static_cast<std::size_t>(r.full)]));
}

void check_overlap(const PlanSpec& p, std::vector<std::string>& out) {
  const ScheduleKind s = p.schedule;
  if (p.overlap_expert_parallel &&
      (s == ScheduleKind::kGPipe || s == ScheduleKind::kZbH1 || s == ScheduleKind::kZbV))
    out.push_back(
        fmt::format("overlap_expert_parallel is true, but schedule {} never runs a "
                    "forward beside a backward",
                    kScheduleNames[static_cast<std::size_t>(s)]));
}

void check_schedule(const PlanSpec& p, std::vector<std::string>& out) {
  check_chunks(p, out);
  const int64_t m = p.micro_batches(), ranks = p.pipeline_parallel;
  const auto name = kScheduleNames[static_cast<std::size_t>(p.schedule)];
  if (p.schedule == ScheduleKind::kInterleaved1F1B && m % ranks != 0)
    out.push_back(
        fmt::format("schedule {} needs a number of micro-batches that pipeline_parallel {} divides;"
                    " found {}",
                    name, ranks, micro_batches_text(p)));
  if (p.schedule == ScheduleKind::kDualPipeV && m < 2 * ranks)
    out.push_back(
        fmt::format("schedule {} needs at least 2 x pipeline_parallel = {} micro-batches;"
                    " found {}",
                    name, 2 * ranks, micro_batches_text(p)));
  if (p.schedule != ScheduleKind::kDualPipe) return;
  if (ranks % 2 != 0)
    out.push_back(
        fmt::format("schedule dualpipe needs an even pipeline_parallel, found {}", ranks));
  if (m % 2 != 0 || m < 2 * ranks)
    out.push_back(
        fmt::format("schedule dualpipe needs an even number of micro-batches, at least 2 "
                    "x pipeline_parallel = {}; found {}",
                    2 * ranks, micro_batches_text(p)));
}

}  // namespace

std::vector<std::string> check_plan(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c) {
  std::vector<std::string> out;
  check_sizes(p, c, out);
  check_layers(p, m, out);
  check_experts(p, m, c, out);
  check_schedule(p, out);
  check_overlap(p, out);
  check_recompute(p, out);
  return out;
}

}  // namespace orrery
