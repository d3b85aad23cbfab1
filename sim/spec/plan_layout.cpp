#include <fmt/format.h>

#include <numeric>

#include "sim/spec/plan_rules.h"

namespace orrery {
namespace {

std::string stage_product(const PlanSpec& p) {
  std::string s = fmt::format("data_parallel {}", p.data_parallel);
  if (p.context_parallel > 1) s += fmt::format(" x context_parallel {}", p.context_parallel);
  if (p.tensor_parallel > 1) s += fmt::format(" x tensor_parallel {}", p.tensor_parallel);
  return s;
}

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
  for (std::size_t i = 1; i + 1 < p.layers_per_stage.size(); ++i)
    if (p.layers_per_stage[i] == 0)
      out.push_back(
          fmt::format("layers_per_stage[{}] is 0; only the first stage, which has the embedding, "
                      "and the last, which has the head, may have no layer",
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

}  // namespace

std::string layout_product(const PlanSpec& p) {
  return fmt::format("pipeline_parallel {} x {}", p.pipeline_parallel, stage_product(p));
}

void check_layout(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c,
                  std::vector<std::string>& out) {
  check_sizes(p, c, out);
  check_layers(p, m, out);
  check_experts(p, m, c, out);
  if (m.position == PositionKind::kLearned && p.sequence_length > m.max_position_embeddings)
    out.push_back(fmt::format("sequence_length {} exceeds the model's {} learned positions",
                              p.sequence_length, m.max_position_embeddings));
  check_tensor(p, m, out);
  check_context(p, m, out);
  check_forms(p, m, out);
}

}  // namespace orrery
