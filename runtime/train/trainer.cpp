#include "runtime/train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"
#include "sim/spec/model.h"

namespace orrery {
namespace {

using Clock = std::chrono::steady_clock;

OptimizerStep optimizer_step(const TrainingSpec& t, int64_t step) {
  const OptimizerSpec& a = t.optimizer;
  OptimizerStep o;
  o.step = step;
  o.lr = t.lr_at(step);
  o.beta1 = a.beta1;
  o.beta2 = a.beta2;
  o.eps = a.eps;
  o.momentum = a.momentum;
  o.weight_decay = a.weight_decay;
  o.max_grad_norm = a.max_grad_norm;
  o.router_bias_rate = t.router_bias_update_rate;
  return o;
}

StepLogOptions log_options(const GraphConfig& c, double peak_flops) {
  StepLogOptions o;
  o.tokens_per_step = c.plan.global_batch * c.plan.sequence_length;
  o.flops_per_step = static_cast<double>(o.tokens_per_step) *
                     model_flops_per_token(c.model, c.plan.sequence_length).causal;
  o.expert_load = c.model.experts > 0 && c.model.router.bias;
  o.peak_flops = peak_flops;
  return o;
}

class Trainer {
 public:
  Trainer(const TrainingTask& task, Executor& executor, const TrainingData& data,
          const JobChannel& channel, const TrainerOptions& options)
      : task_(task),
        executor_(executor),
        data_(data),
        channel_(channel),
        options_(options),
        checkpoints_(task, executor, channel, options.warn),
        log_(log_options(task.config, options.peak_flops), task.config.model.mtp_layers > 0) {}

  TrainResult run();

 private:
  void start();
  StepReport step(int64_t number);
  void report(const StepReport& r, bool last);
  void check_finite(const StepReport& r) const;
  // Of all processes: one that is asked to stop stops all.
  TrainEnd why_stop() const;
  void save(int64_t step);
  bool saves() const { return task_.training.checkpoint.every > 0; }

  const TrainingTask& task_;
  Executor& executor_;
  const TrainingData& data_;
  const JobChannel& channel_;
  const TrainerOptions& options_;
  Checkpoints checkpoints_;
  StepLog log_;
  std::optional<MetricsWriter> metrics_;
  TrainingPosition position_;
  int64_t first_step_ = 1;
  int64_t saved_step_ = -1;
};

void Trainer::start() {
  if (options_.resume) {
    position_ = checkpoints_.resume();
    saved_step_ = position_.step;
    if (checkpoints_.leader())
      options_.note(fmt::format("resuming after step {} from {}", position_.step,
                                checkpoints_.last_folder()));
  } else {
    checkpoints_.refuse_others();
  }
  first_step_ = position_.step + 1;
  if (!checkpoints_.leader()) return;
  if (!options_.metrics_path.empty())
    metrics_.emplace(options_.metrics_path,
                     options_.resume ? std::optional(position_.step) : std::nullopt);
}

StepReport Trainer::step(int64_t number) {
  const OptimizerStep optimizer = optimizer_step(task_.training, number);
  const Clock::time_point before = Clock::now();
  StepReport r;
  r.result = executor_.step({&data_.source(), position_.next_sequence}, optimizer);
  r.seconds = std::chrono::duration<double>(Clock::now() - before).count();
  r.step = number;
  r.lr = optimizer.lr;
  position_.step = number;
  position_.next_sequence += static_cast<uint64_t>(task_.config.plan.global_batch);
  r.tokens = static_cast<int64_t>(position_.next_sequence) * task_.config.plan.sequence_length;
  r.memory = executor_.memory();
  return r;
}

void Trainer::report(const StepReport& r, bool last) {
  if (metrics_) metrics_->write(r.step, log_.metrics(r));
  log_.add(r);
  if (r.step % task_.training.log_every == 0 || r.step == first_step_ || last)
    options_.row(log_.row());
  options_.progress(r.step - first_step_ + 1);
}

void Trainer::check_finite(const StepReport& r) const {
  const auto& losses = r.result.losses;
  const bool loss_ok =
      std::all_of(losses.begin(), losses.end(), [](double l) { return std::isfinite(l); });
  if (loss_ok && std::isfinite(r.result.grad_norm)) return;
  const std::string what =
      loss_ok ? fmt::format("the gradient norm is {} (loss {:.4f})", r.result.grad_norm, losses[0])
              : fmt::format("the loss is {}", fmt::join(losses, " and "));
  const std::string& folder = checkpoints_.last_folder();
  throw Error(
      ExitCode::kFailure,
      fmt::format("step {}: {} at learning rate {:g}; nothing of this step is saved, and {}",
                  r.step, what, r.lr,
                  folder.empty() ? "there is no checkpoint" : "the last checkpoint is " + folder));
}

TrainEnd Trainer::why_stop() const {
  TrainEnd mine = TrainEnd::kFinished;
  if (options_.stop_at && Clock::now() >= *options_.stop_at) mine = TrainEnd::kTimeout;
  if (options_.interrupted()) mine = TrainEnd::kInterrupted;
  return static_cast<TrainEnd>(channel_.largest(static_cast<int>(mine)));
}

// The metrics go first, so that a resumed run finds a line for every step before it.
void Trainer::save(int64_t step) {
  if (!saves() || saved_step_ == step) return;
  if (metrics_) metrics_->sync();
  checkpoints_.save(position_);
  saved_step_ = step;
}

TrainResult Trainer::run() {
  start();
  TrainResult result;
  result.first_step = first_step_;
  result.last_step = first_step_ - 1;
  if (checkpoints_.leader() && first_step_ <= options_.last_step) options_.row(log_.header());
  for (int64_t s = first_step_; s <= options_.last_step; ++s) {
    executor_.set_recording(s == options_.last_step);
    const StepReport r = step(s);
    result.end = why_stop();
    const bool last = s == options_.last_step || result.end != TrainEnd::kFinished;
    if (checkpoints_.leader()) report(r, last);
    if (options_.require_finite) check_finite(r);
    result.last_step = s;
    result.last = r.result;
    if (last || (saves() && s % task_.training.checkpoint.every == 0)) save(s);
    if (last) break;
  }
  if (result.last_step == options_.last_step) result.end = TrainEnd::kFinished;
  result.checkpoint = checkpoints_.last_folder();
  return result;
}

}  // namespace

TrainResult train(const TrainingTask& task, Executor& executor, const TrainingData& data,
                  const JobChannel& channel, const TrainerOptions& options) {
  return Trainer(task, executor, data, channel, options).run();
}

}  // namespace orrery
