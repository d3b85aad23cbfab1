// A training run of a small model on the CPU executor, and what it holds, bit for bit.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/cpu/cpu_executor.h"
#include "runtime/train/trainer.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/runtime/tiny.h"

namespace orrery {

// One layer of Llama over 32 tokens, each with 4 successors: the loss can fall from ln 32 = 3.47
// to ln 4 = 1.39.
inline StudySpec tiny_llama(const std::vector<std::string>& more = {}) {
  std::vector<std::string> o = {
      "/model/hidden_size=32",        "/model/intermediate_size=64",
      "/model/num_hidden_layers=1",   "/model/num_attention_heads=2",
      "/model/num_key_value_heads=1", "/model/head_dim=16",
      "/model/vocab_size=32",         "/model/initializer_range=0.1",
      "/plan/layers_per_stage=[1]",   "/plan/global_batch=4",
      "/plan/sequence_length=16",     "/training/optimizer/warmup_steps=0",
      "/training/log_every=1000"};
  o.insert(o.end(), more.begin(), more.end());
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/tiny_llama", o, root);
}

// tiny_study() with a sequence for each rank and micro-batch, and settings that make every part of
// the optimizer work.
inline StudySpec tiny_moe_training(Layout l) {
  const int micro_batches = l.schedule == "dualpipe" ? 2 * l.pipeline : 2;
  l.more.insert(l.more.begin(), fmt::format("/plan/global_batch={}", l.data * micro_batches));
  StudySpec s = tiny_study(l);
  s.training.data.branching = 4;
  s.training.optimizer.lr = 0.01;
  s.training.optimizer.warmup_steps = 2;
  s.training.optimizer.decay_steps = 6;
  s.training.router_bias_update_rate = 0.01;
  return s;
}

class TinyTraining {
 public:
  explicit TinyTraining(StudySpec s, bool record = false)
      : study(std::move(s)),
        config{study.model, study.plan, study.stack, study.cluster.node.gpus},
        plan(compile_plan(config)),
        constants(numerics(study.model, study.training.mtp_loss_weight)),
        executor(plan, config, constants,
                 {static_cast<uint64_t>(study.training.seed), true, record}) {
    options.row = [this](const std::string& text) { rows.push_back(text); };
    options.note = [this](const std::string& text) { notes.push_back(text); };
    options.warn = [this](const std::string& text) { warnings.push_back(text); };
  }

  TrainResult train(int64_t last_step, bool resume = false) {
    options.last_step = last_step;
    options.resume = resume;
    const TrainingTask task{study.name, config, study.training};
    const TrainingData data(study.training, config);
    return orrery::train(task, executor, data, JobChannel{}, options);
  }

  // Everything that the next step depends on, and the gathered weights, of every rank. Compare it
  // in double parentheses: Catch takes minutes to print it.
  std::map<std::string, std::vector<float>> state() {
    std::map<std::string, std::vector<float>> all;
    for (const RankState* r : executor.local_ranks()) {
      const auto name = [&](const std::string& what) {
        return fmt::format("rank {} {}", r->layout().rank(), what);
      };
      const auto& shares = r->layout().rank_class().shares;
      for (std::size_t i = 0; i < shares.size(); ++i) {
        const int share = static_cast<int>(i);
        std::vector<float>& w = all[name(fmt::format("weights {}", i))];
        w.resize(static_cast<std::size_t>(shares[i].elements));
        r->read_weights(share, w);
        for (int k = 0; k < kStateKinds; ++k) {
          const auto kind = static_cast<StateKind>(k);
          std::vector<float>& s = all[name(fmt::format("state {}.{}", i, k))];
          s.resize(r->state_bytes(share, kind) / sizeof(float));
          r->read_state(share, kind, std::as_writable_bytes(std::span(s)));
        }
      }
      std::vector<float>& b = all[name("buffers")];
      b.resize(static_cast<std::size_t>(r->layout().buffer_elements()));
      r->read_buffers(b);
    }
    return all;
  }

  const StudySpec study;
  const GraphConfig config;
  const ExecPlan plan;
  const Numerics constants;
  CpuExecutor executor;
  TrainerOptions options;
  std::vector<std::string> rows, notes, warnings;
};

}  // namespace orrery
