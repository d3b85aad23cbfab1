// A DeepSeek-V3 architecture small enough for the CPU backend, under any plan, and what a step of
// it yields in a form that does not depend on the layout.
#pragma once

#include <fmt/format.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/cpu/cpu_job.h"
#include "runtime/model/param_shard.h"
#include "sim/exec/verify_backend.h"
#include "sim/schedule/compile_plan.h"
#include "tests/unit/deepseek.h"

namespace orrery {

struct Layout {
  int pipeline = 1, data = 1, expert = 1;
  std::string schedule = "1f1b";
  std::vector<std::string> more = {};
  int chunks = 1;  // per pipeline rank
  // Whatever the GPU of the profile can do.
  Precision precision = Precision::kBf16;
  int tensor = 1, context = 1;
  std::optional<DataParallelSpec> dp = {};  // else as the plan says
  std::string name() const {
    std::string n = fmt::format("PP{} DP{} EP{} TP{} CP{} {}", pipeline, data, expert, tensor,
                                context, schedule);
    if (dp) n += fmt::format(" ZeRO-{}", dp->zero_stage);
    for (const std::string& m : more) n += " " + m;
    if (precision != Precision::kBf16)
      n += fmt::format(" {}", kPrecisionNames[static_cast<std::size_t>(precision)]);
    return n;
  }
};

// 4 layers, the first dense, and one MTP module; 8 experts in 4 groups, of which a token reaches 2.
inline StudySpec tiny_study(const Layout& l) {
  std::string split = "[";
  for (int s = 0; s < l.pipeline * l.chunks; ++s) {
    const int each = 4 / (l.pipeline * l.chunks);
    split += fmt::format("{}{}", s == 0 ? "" : ",", each);
  }
  split += "]";
  std::vector<std::string> o = {
      "/model/hidden_size=64",
      "/model/num_hidden_layers=4",
      "/model/first_k_dense_replace=1",
      "/model/num_attention_heads=2",
      "/model/num_key_value_heads=2",
      "/model/q_lora_rank=32",
      "/model/kv_lora_rank=32",
      "/model/qk_nope_head_dim=16",
      "/model/qk_rope_head_dim=8",
      "/model/v_head_dim=16",
      "/model/intermediate_size=96",
      "/model/moe_intermediate_size=32",
      "/model/n_routed_experts=8",
      "/model/num_experts_per_tok=2",
      "/model/n_group=4",
      "/model/topk_group=2",
      "/model/vocab_size=96",
      "/model/initializer_range=0.1",
      "/plan/global_batch=8",
      "/plan/micro_batch=1",
      "/plan/sequence_length=12",
      "/plan/precision=bf16",
      "/plan/moments=fp32",
      "/plan/overlap_expert_parallel=false",
      "/plan/max_nodes_per_token=0",
      "/plan/recompute={}",
      "/cluster/nodes=1",
      fmt::format("/cluster/node/gpus={}", l.pipeline * l.data * l.tensor * l.context),
      fmt::format("/plan/tensor_parallel={}", l.tensor),
      fmt::format("/plan/context_parallel={}", l.context),
      fmt::format("/plan/pipeline_parallel={}", l.pipeline),
      fmt::format("/plan/data_parallel={}", l.data),
      fmt::format("/plan/expert_parallel={}", l.expert),
      "/plan/schedule=" + l.schedule,
      fmt::format("/plan/virtual_pipeline={}", l.chunks),
      "/plan/layers_per_stage=" + split,
      "/phases=[]",
      "/published=[]"};
  o.insert(o.end(), l.more.begin(), l.more.end());
  StudySpec s = deepseek(o);
  if (l.precision != Precision::kBf16) s.plan.precision = l.precision;
  if (l.dp) s.plan.dp = *l.dp;
  return s;
}

// Uniform tokens by a hash of (sequence, position).
class HashTokens : public TokenSource {
 public:
  explicit HashTokens(int64_t vocab) : vocab_(vocab) {}
  int64_t vocab_size() const override { return vocab_; }
  void sample(uint64_t index, std::span<int32_t> out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) {
      uint64_t x = (index << 32 | i) + 0x9e3779b97f4a7c15ULL;
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
      out[i] = static_cast<int32_t>((x ^ (x >> 31)) % static_cast<uint64_t>(vocab_));
    }
  }

 private:
  int64_t vocab_;
};

struct Run {
  std::vector<StepResult> steps;
  // By "name@layer#expert": reduced gradients of the last step, weights after it.
  std::map<std::string, std::vector<double>> gradients, weights;
};

template <class T>
class TinyJob {
 public:
  explicit TinyJob(const Layout& l, CpuNumerics mode = CpuNumerics::kExact)
      : TinyJob(tiny_study(l), mode) {}
  explicit TinyJob(StudySpec spec, CpuNumerics mode = CpuNumerics::kExact)
      : study(std::move(spec)),
        graph{study.model, study.plan, study.stack, study.cluster.node.gpus},
        plan(compile_plan(graph)),
        constants(numerics(study.model, 0.3)),
        job(plan, graph, constants, {mode, 1234, false}) {
    verify_or_throw(plan);
  }

  Run run(int steps) {
    Run r;
    const HashTokens tokens(study.model.vocab);
    for (int s = 0; s < steps; ++s) {
      OptimizerStep o;
      o.step = s + 1;
      o.lr = 0.01;
      const auto first = static_cast<uint64_t>(s * study.plan.global_batch);
      r.steps.push_back(job.step({&tokens, first}, o));
    }
    for (int64_t rank = 0; rank < job.ranks(); ++rank) collect(job.rank(rank), r);
    return r;
  }

  const StudySpec study;
  const GraphConfig graph;
  const ExecPlan plan;
  const Numerics constants;
  CpuJob<T> job;

 private:
  void collect(CpuRank<T>& rank, Run& r) {
    const RankClass& c = rank.layout().rank_class();
    for (std::size_t i = 0; i < c.shares.size(); ++i) {
      const OptimizerShare& s = c.shares[i];
      const int share = static_cast<int>(i);
      const ShardRange owned = rank.layout().owned(share);
      const int64_t begin = owned.begin;
      const StageGraph& g = plan.stages[static_cast<std::size_t>(s.stage)];
      for (std::size_t p = 0; p < s.params.size(); ++p) {
        const Param& param = g.params[s.params[p].v];
        const int64_t first = param.expert ? rank.layout().first_expert(param.groups) : 0;
        const int64_t each = param.count() / param.groups;
        const int64_t whole = whole_param(param).count() / param.groups;
        for (int64_t e = 0; e < param.count(); ++e) {
          const std::string key =
              fmt::format("{}@{}#{}", param.name, param.layer, first + e / each);
          const int64_t at = s.offsets[p] + e;
          if (at < begin || at >= begin + owned.elements) continue;
          const int64_t index = whole_index(param, rank.layout().shard(param), e % each);
          put(r.weights, key, index, whole,
              rank.state().master[i][static_cast<std::size_t>(at - begin)]);
          put(r.gradients, key, index, whole,
              rank.reduced_gradients(share)[static_cast<std::size_t>(at - begin)]);
        }
      }
    }
  }
  static void put(std::map<std::string, std::vector<double>>& to, const std::string& key,
                  int64_t index, int64_t size, T value) {
    std::vector<double>& v = to[key];
    v.resize(static_cast<std::size_t>(size));
    v[static_cast<std::size_t>(index)] = static_cast<double>(value);
  }
};

}  // namespace orrery
