#include "sim/spec/training.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>

namespace orrery {

const std::string_view kDataNames[2] = {"synthetic", "tokens"};
const std::string_view kLrScheduleNames[3] = {"constant", "cosine", "wsd"};

namespace {

using json::Node;
using json::Range;
using json::Reader;

constexpr Range kSteps{1, 1e9};
constexpr Range kStepsOrZero{0, 1e9};
constexpr Range kSeed{0, 0x1p53};  // exact in every JSON reader
constexpr Range kBeta{0, 0.999999};

// A nested object that may be left out.
template <class F>
void optional_object(Reader& r, std::string_view key, F&& read) {
  if (!r.has(key)) return;
  Reader o = r.object(key);
  read(o);
  o.finish();
}

std::string read_path(Reader& r, std::string_view key) {
  const std::string path = r.string_or(key, "");
  const Node* raw = r.raw(key);
  const bool from_file = raw != nullptr && raw->file != nullptr && raw->line > 0;
  if (path.empty() || !from_file) return path;
  const std::filesystem::path beside = std::filesystem::path(*raw->file).parent_path();
  return (beside / path).lexically_normal().string();
}

void read_data(Reader& r, int64_t run_seed, DataSpec& d) {
  d.seed = run_seed;
  optional_object(r, "data", [&](Reader& o) {
    d.kind = static_cast<DataKind>(o.choice("kind", kDataNames));
    if (d.kind == DataKind::kSynthetic) {
      d.branching = o.integer_or("branching", d.branching, {1, 1e6});
      d.seed = o.integer_or("seed", d.seed, kSeed);
      return;
    }
    o.string("path");
    d.path = read_path(o, "path");
    if (o.has("path") && d.path.empty()) o.fail("path", "found no file name");
  });
}

int64_t default_decay_steps(LrSchedule schedule, int64_t steps, int64_t warmup) {
  const int64_t after = std::max<int64_t>(1, steps - warmup);
  return schedule == LrSchedule::kWsd ? std::max<int64_t>(1, after / 5) : after;
}

void check_schedule(Reader& r, const OptimizerSpec& a, int64_t steps) {
  if (a.min_lr > a.lr) r.fail("", fmt::format("min_lr {:g} is above lr {:g}", a.min_lr, a.lr));
  if (a.schedule == LrSchedule::kWsd && a.warmup_steps + a.decay_steps > steps)
    r.fail("", fmt::format("schedule wsd needs warmup_steps {} + decay_steps {} of at most the {} "
                           "steps of the run",
                           a.warmup_steps, a.decay_steps, steps));
}

void read_optimizer(Reader& r, int64_t steps, OptimizerSpec& a) {
  a.decay_steps = default_decay_steps(a.schedule, steps, a.warmup_steps);
  optional_object(r, "optimizer", [&](Reader& o) {
    a.lr = o.number_or("lr", a.lr, {json::kPositive.min, 10});
    a.min_lr = o.number_or("min_lr", a.lr / 10, {0, 10});
    a.warmup_steps = o.integer_or("warmup_steps", a.warmup_steps, kStepsOrZero);
    a.schedule = static_cast<LrSchedule>(
        o.choice_or("schedule", static_cast<std::size_t>(a.schedule), kLrScheduleNames));
    a.decay_steps =
        o.integer_or("decay_steps", default_decay_steps(a.schedule, steps, a.warmup_steps), kSteps);
    a.beta1 = o.number_or("beta1", a.beta1, kBeta);
    a.beta2 = o.number_or("beta2", a.beta2, kBeta);
    a.eps = o.number_or("eps", a.eps, {json::kPositive.min, 1});
    a.momentum = o.number_or("momentum", a.momentum, kBeta);
    a.weight_decay = o.number_or("weight_decay", a.weight_decay, {0, 10});
    a.max_grad_norm = o.number_or("max_grad_norm", a.max_grad_norm, {0, 1e9});
    check_schedule(o, a, steps);
  });
}

void read_checkpoint(Reader& r, CheckpointSpec& c) {
  optional_object(r, "checkpoint", [&](Reader& o) {
    c.every = o.integer_or("every", c.every, kStepsOrZero);
    c.keep = o.integer_or("keep", c.keep, {0, 1e6});
    c.folder = read_path(o, "folder");
    if (c.every > 0 && c.folder.empty())
      o.fail("", fmt::format("a checkpoint every {} steps needs a folder", c.every));
  });
}

}  // namespace

TrainingSpec read_training(const Node& node, const std::string& pointer, Diagnostics& diagnostics) {
  Reader r(node, pointer, diagnostics);
  TrainingSpec t;
  t.steps = r.integer_or("steps", t.steps, kSteps);
  t.seed = r.integer_or("seed", t.seed, kSeed);
  read_data(r, t.seed, t.data);
  read_optimizer(r, t.steps, t.optimizer);
  t.router_bias_update_rate =
      r.number_or("router_bias_update_rate", t.router_bias_update_rate, {0, 1});
  t.mtp_loss_weight = r.number_or("mtp_loss_weight", t.mtp_loss_weight, {0, 10});
  read_checkpoint(r, t.checkpoint);
  t.log_every = r.integer_or("log_every", t.log_every, kSteps);
  r.ignore("name");
  r.ignore("note");
  r.finish();
  return t;
}

double TrainingSpec::lr_at(int64_t step) const {
  const OptimizerSpec& a = optimizer;
  const auto d = [](int64_t x) { return static_cast<double>(x); };
  if (step < a.warmup_steps) return a.lr * d(step) / d(a.warmup_steps);
  const int64_t decay_begin =
      a.schedule == LrSchedule::kWsd ? steps - a.decay_steps : a.warmup_steps;
  const double t = std::clamp(d(step - decay_begin) / d(a.decay_steps), 0.0, 1.0);
  switch (a.schedule) {
    case LrSchedule::kConstant:
      break;
    case LrSchedule::kCosine:
      return a.min_lr + (a.lr - a.min_lr) * (1 + std::cos(std::numbers::pi * t)) / 2;
    case LrSchedule::kWsd:
      return a.lr + (a.min_lr - a.lr) * t;
  }
  return a.lr;
}

}  // namespace orrery
