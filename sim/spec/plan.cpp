#include "sim/spec/plan.h"

#include <fmt/format.h>

#include <numeric>

namespace orrery {

const std::string_view kScheduleNames[kSchedules] = {
    "gpipe", "1f1b", "interleaved_1f1b", "zb_h1", "zb_v", "dualpipe", "dualpipe_v"};
const std::string_view kFullRecomputeNames[3] = {"none", "block", "uniform"};
const std::string_view kContextParallelNames[2] = {"ring", "all_to_all"};
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
  p.dp = read_data_parallel(r);
  p.overlap_expert_parallel = r.boolean_or("overlap_expert_parallel", false);
  p.max_nodes_per_token = r.integer_or("max_nodes_per_token", 0, {0, 131072});
  r.ignore("note");
  r.finish();
  return p;
}

namespace {

std::string stage_product(const PlanSpec& p) {
  std::string s = fmt::format("data_parallel {}", p.data_parallel);
  if (p.context_parallel > 1) s += fmt::format(" x context_parallel {}", p.context_parallel);
  if (p.tensor_parallel > 1) s += fmt::format(" x tensor_parallel {}", p.tensor_parallel);
  return s;
}

// Every rule names all the fields that take part in it.
void check_sizes(const PlanSpec& p, const ClusterSpec& c, std::vector<std::string>& out) {
  if (p.world_size() != c.gpus())
    out.push_back(fmt::format("{} = {} ranks, but the cluster has nodes {} x gpus {} = {} GPUs",
                              layout_product(p), p.world_size(), c.nodes, c.node.gpus, c.gpus()));
  if (p.stage_ranks() % p.expert_ranks() != 0)
    out.push_back(
        fmt::format("expert_parallel {}{} does not divide {}", p.expert_parallel,
                    p.expert_tensor_parallel > 1
                        ? fmt::format(" x expert_tensor_parallel {}", p.expert_tensor_parallel)
                        : "",
                    stage_product(p)));
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
  const int64_t nodes = (p.expert_ranks() + c.node.gpus - 1) / c.node.gpus;
  if (p.max_nodes_per_token > nodes)
    out.push_back(
        fmt::format("max_nodes_per_token {} exceeds the {} nodes that expert_parallel {} "
                    "spans with {} GPUs a node",
                    p.max_nodes_per_token, nodes, p.expert_ranks(), c.node.gpus));
}

// What is split over the tensor-parallel group must be whole on each rank.
void check_tensor(const PlanSpec& p, const ModelSpec& m, std::vector<std::string>& out) {
  const int64_t t = p.tensor_parallel;
  const auto divides = [&](std::string_view what, int64_t n, std::string_view by, int64_t ways) {
    if (n % ways != 0)
      out.push_back(fmt::format("{} {} does not divide the model's {} {}", by, ways, n, what));
  };
  if (p.tokens_per_rank() % t != 0 && p.splits_rows())
    out.push_back(fmt::format(
        "sequence_parallel: tensor_parallel {} does not divide micro_batch {} x sequence_length {}"
        " / context_parallel {} = {} tokens",
        t, p.micro_batch, p.sequence_length, p.context_parallel, p.tokens_per_rank()));
  if (p.overlap_tensor_parallel && !p.sequence_parallel && t > 1)
    out.push_back(
        fmt::format("overlap_tensor_parallel with tensor_parallel {} needs "
                    "sequence_parallel true, which splits the rows that travel",
                    t));
  divides("attention heads (num_attention_heads)", m.heads, "tensor_parallel", t);
  if (m.attention == AttentionKind::kGqa)
    divides("key-value heads (num_key_value_heads)", m.kv_heads, "tensor_parallel", t);
  if (m.experts == 0 || m.dense_layers > 0)
    divides("FFN columns (intermediate_size)", m.ffn, "tensor_parallel", t);
  if (m.shared_experts > 0)
    divides("shared-expert columns", m.shared_width(), "tensor_parallel", t);
  if (m.vocab % t != 0)
    out.push_back(
        fmt::format("tensor_parallel {} does not divide the model's vocabulary of {} "
                    "(vocab_size); pad it to {}",
                    t, m.vocab, (m.vocab + t - 1) / t * t));
  if (m.experts == 0) return;
  divides("columns of an expert (moe_intermediate_size)", m.expert_ffn, "expert_tensor_parallel",
          p.expert_tensor_parallel);
  if (t > 1 && !p.sequence_parallel)
    out.push_back(
        fmt::format("a model with experts and tensor_parallel {} needs sequence_parallel "
                    "true: else its ranks would route the same tokens",
                    t));
}

void check_context(const PlanSpec& p, const ModelSpec& m, std::vector<std::string>& out) {
  const int64_t n = p.context_parallel;
  if (n == 1) return;
  const bool ring = p.context_parallel_kind == ContextParallelKind::kRing;
  const int64_t chunks = ring ? 2 * n : n;
  if (p.sequence_length % chunks != 0)
    out.push_back(
        fmt::format("sequence_length {} is not a multiple of {} chunks of context_parallel "
                    "{} ({})",
                    p.sequence_length, chunks, n,
                    kContextParallelNames[static_cast<std::size_t>(p.context_parallel_kind)]));
  const auto heads = [&](std::string_view what, int64_t h) {
    if (h % (p.tensor_parallel * n) != 0)
      out.push_back(
          fmt::format("context_parallel_kind all_to_all: context_parallel {} x "
                      "tensor_parallel {} does not divide the model's {} {}",
                      n, p.tensor_parallel, h, what));
  };
  if (ring) return;
  heads("attention heads (num_attention_heads)", m.heads);
  if (m.attention == AttentionKind::kGqa)
    heads("key-value heads (num_key_value_heads)", m.kv_heads);
}

// Forms of attention and experts that are not split.
void check_forms(const PlanSpec& p, const ModelSpec& m, std::vector<std::string>& out) {
  const bool split = p.tensor_parallel > 1 || p.context_parallel > 1;
  if (split && m.position == PositionKind::kAlibi)
    out.push_back(
        fmt::format("a model with ALiBi needs tensor_parallel 1 and context_parallel 1, "
                    "since its slopes go by the number of the head; found {} and {}",
                    p.tensor_parallel, p.context_parallel));
  if (p.context_parallel > 1 && m.attention_dropout > 0)
    out.push_back(fmt::format("a model with attention_dropout needs context_parallel 1; found {}",
                              p.context_parallel));
  if (p.context_parallel > 1 && m.attention_sinks)
    out.push_back(fmt::format("a model with attention sinks needs context_parallel 1; found {}",
                              p.context_parallel));
  bool window = false;
  for (int64_t l = 0; l < m.layers; ++l) window = window || m.window(l) > 0;
  if (p.context_parallel > 1 && window && p.context_parallel_kind == ContextParallelKind::kRing)
    out.push_back(
        fmt::format("context_parallel {} with a sliding window needs "
                    "context_parallel_kind all_to_all: a ring passes all keys",
                    p.context_parallel));
  if (p.expert_tensor_parallel > 1 && m.experts > 0 && m.ffn_bias)
    out.push_back(
        fmt::format("expert_tensor_parallel {} needs experts without biases, which would "
                    "be added by each of its ranks",
                    p.expert_tensor_parallel));
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

void check_every_second_product(const PlanSpec& p, const ModelSpec& m,
                                std::vector<std::string>& out) {
  const Recompute& r = p.recompute;
  if (!r.every_second_product) return;
  if (r.norms || r.mla_up || r.swiglu || r.attention || r.full != FullRecompute::kNone)
    out.push_back("recompute every_second_product includes what the other kinds of recompute name");
  if (m.experts > 0 || m.attention != AttentionKind::kGqa || m.dropout > 0 ||
      m.block != BlockForm::kSequential)
    out.push_back(
        "recompute every_second_product is for dense layers with grouped-query attention, one "
        "block after the other, without dropout");
  if (p.context_parallel > 1 || p.precision == Precision::kFp8)
    out.push_back(fmt::format(
        "recompute every_second_product does not go with context_parallel {} or precision {}",
        p.context_parallel, kPrecisionNames[static_cast<std::size_t>(p.precision)]));
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

// The kernels of a GPU's profile that the recipe's products need.
std::vector<std::pair<std::string_view, bool>> needed_kernels(Precision p, const GpuSpec& gpu) {
  switch (p) {
    case Precision::kFp8:
      return {{"gemm_fp8", gpu.gemm_fp8.exists()}, {"gemm_fp8_wgrad", gpu.gemm_fp8_wgrad.exists()}};
    case Precision::kFp8Delayed:
    case Precision::kFp8Current:
    case Precision::kFp8Rowwise:
      return {{"gemm_fp8_tensor", gpu.gemm_fp8_tensor.exists()}};
    case Precision::kMxfp8:
      return {{"gemm_mxfp8", gpu.gemm_mxfp8.exists()}};
    case Precision::kNvfp4:
      return {{"gemm_nvfp4", gpu.gemm_nvfp4.exists()}};
    default:
      return {};
  }
}

void check_precision(const PlanSpec& p, const ClusterSpec& c, std::vector<std::string>& out) {
  const GpuSpec& gpu = c.node.gpu;
  for (const auto& [kernel, exists] : needed_kernels(p.precision, gpu))
    if (!exists)
      out.push_back(
          fmt::format("precision {} needs the kernel {}, which the profile of {} does not "
                      "have",
                      kPrecisionNames[static_cast<std::size_t>(p.precision)], kernel, gpu.name));
}

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
  if (c.node.host_copy_per_rank().count() <= 0)
    out.push_back(
        fmt::format("offload_optimizer needs the node's host_link_GBps, host_link_effective_GBps "
                    "and host_memory_GBps, which the profile of {} does not have",
                    c.node.name));
}

}  // namespace

std::string layout_product(const PlanSpec& p) {
  return fmt::format("pipeline_parallel {} x {}", p.pipeline_parallel, stage_product(p));
}

std::vector<std::string> check_plan(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c) {
  std::vector<std::string> out;
  check_sizes(p, c, out);
  check_layers(p, m, out);
  check_experts(p, m, c, out);
  if (m.position == PositionKind::kLearned && p.sequence_length > m.max_position_embeddings)
    out.push_back(fmt::format("sequence_length {} exceeds the model's {} learned positions",
                              p.sequence_length, m.max_position_embeddings));
  check_tensor(p, m, out);
  check_context(p, m, out);
  check_forms(p, m, out);
  check_schedule(p, out);
  check_precision(p, c, out);
  check_overlap(p, out);
  check_recompute(p, out);
  check_every_second_product(p, m, out);
  check_data_parallel(p, out);
  check_muon(p, out);
  check_offload(p, c, out);
  return out;
}

}  // namespace orrery
