#include "sim/cli/run.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "runtime/cpu/cpu_executor.h"
#include "runtime/io/durable_file.h"
#include "runtime/model/hf_weights.h"
#include "runtime/train/step_trace.h"
#include "runtime/train/stop_signal.h"
#include "runtime/train/trainer.h"
#include "sim/base/progress.h"
#include "sim/base/text.h"
#include "sim/cli/verbs.h"
#include "sim/exec/verify_backend.h"
#include "sim/schedule/compile_plan.h"

namespace orrery {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void usage(const std::string& message) { throw Error(ExitCode::kUsage, message); }

void check_arguments(const RunArguments& a, const StudySpec& study) {
  if (a.resume && !a.load.empty())
    usage("--resume takes the weights from a checkpoint and --load from a model: give one of them");
  if (!a.gradients.empty() && study.plan.zero_stage > 0 && study.plan.data_parallel > 1)
    usage(
        "--dump-gradients writes whole gradients, which no rank has when the optimizer states "
        "are split: add --set /plan/zero_stage=0");
  if (a.device != "cpu") return;
  if (a.ranks > 0)
    check_world_size(study.plan, a.ranks, fmt::format("--ranks asks for {}", a.ranks));
  if (a.ranks_per_gpu > 1) usage("--ranks-per-gpu is for --device cuda");
  if (a.comm_timeout_s > 0) usage("--comm-timeout is for --device cuda");
}

std::string in_out(const RunArguments& a, const char* name) {
  return a.out.empty() ? "" : (std::filesystem::path(a.out) / name).string();
}

std::string trace_path(const RunArguments& a) {
  return a.trace.empty() ? in_out(a, "trace.json") : a.trace;
}

RunDevice open_cpu(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
                   const ExecutorOptions& options) {
  RunDevice d;
  d.name = "cpu";
  d.executor = std::make_unique<CpuExecutor>(plan, config, numerics, options);
  return d;
}

// What this process says to people. Only the one with rank 0 says anything but warnings.
class Console {
 public:
  Console(const RunArguments& a, bool leader) : quiet_(a.quiet), leader_(leader) {
    mode_ = a.quiet || !leader     ? ProgressMode::kQuiet
            : a.progress == "json" ? ProgressMode::kJson
                                   : ProgressMode::kAuto;
  }

  void line(const std::string& text) {
    if (quiet_ || !leader_) return;
    clear();
    fmt::print("{}\n", text);
    std::fflush(stdout);
  }
  void note(const std::string& text) {
    if (!quiet_ && leader_) message(text);
  }
  void warn(const std::string& text) { message("warning: " + text); }
  void progress(int64_t done, int64_t total) {
    if (!progress_) progress_ = std::make_unique<Progress>("training", total, mode_);
    progress_->update(done);
  }
  void end_progress() { progress_.reset(); }

 private:
  void message(const std::string& text) {
    clear();
    fmt::print(stderr, "orrery: {}\n", text);
  }
  void clear() {
    if (progress_) progress_->clear();
  }

  bool quiet_, leader_;
  ProgressMode mode_;
  std::unique_ptr<Progress> progress_;
};

class Run {
 public:
  Run(const RunArguments& a, const StudySpec& study, const ExecPlan& plan,
      const GraphConfig& config, RunDevice& device)
      : a_(a),
        study_(study),
        plan_(plan),
        config_(config),
        device_(device),
        leader_(device.executor->local_ranks().front()->layout().rank() == 0),
        console_(a, leader_),
        data_(study.training, config) {}

  TrainResult run() {
    if (leader_ && !a_.out.empty()) make_folders(a_.out);
    load();
    title();
    const StopSignals signals;
    const TrainingTask task{study_.name, config_, study_.training};
    const TrainResult r =
        train(task, *device_.executor, data_, device_.channel, trainer_options(signals));
    console_.end_progress();
    if (r.end == TrainEnd::kFinished) write_results(r);
    return r;
  }

 private:
  void load() {
    if (a_.load.empty()) return;
    std::vector<std::string> warnings;
    for (RankState* rank : device_.executor->local_ranks())
      warnings = load_hf_weights(a_.load, plan_, study_.model, *rank);
    if (!leader_) return;
    for (const std::string& w : warnings) console_.warn(w);
  }

  void title() {
    const PlanSpec& p = study_.plan;
    const std::string entropy =
        data_.entropy_nats() ? fmt::format("; entropy of the data {:.4f}", *data_.entropy_nats())
                             : "";
    console_.line(fmt::format("{} on {}: {} {}, {} tokens a step{}", study_.name, device_.name,
                              p.world_size(), p.world_size() == 1 ? "rank" : "ranks",
                              with_commas(p.global_batch * p.sequence_length), entropy));
  }

  TrainerOptions trainer_options(const StopSignals& signals) {
    TrainerOptions o;
    o.last_step = a_.steps > 0 ? a_.steps : study_.training.steps;
    o.resume = a_.resume;
    o.metrics_path = in_out(a_, "metrics.jsonl");
    o.peak_flops = device_.peak_flops;
    if (a_.timeout_s > 0)
      o.stop_at = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                     std::chrono::duration<double>(a_.timeout_s));
    o.row = [this](const std::string& text) { console_.line(text); };
    o.note = [this](const std::string& text) { console_.note(text); };
    o.warn = [this](const std::string& text) { console_.warn(text); };
    o.progress = [this, total = o.last_step](int64_t done) { console_.progress(done, total); };
    o.interrupted = [&signals] { return signals.requested(); };
    return o;
  }

  void write_results(const TrainResult& r) {
    Executor& executor = *device_.executor;
    if (r.last_step < r.first_step) {
      console_.note(fmt::format("nothing to do: the checkpoint is of step {}", r.last_step));
    } else {
      if (!trace_path(a_).empty())
        write_trace(trace_path(a_), take_trace(plan_, executor, study_.name, device_.name), plan_,
                    executor);
      if (!a_.gradients.empty())
        for (const RankState* rank : executor.local_ranks())
          save_hf_gradients(a_.gradients, plan_, study_.model, *rank);
    }
    if (!a_.save.empty())
      for (const RankState* rank : executor.local_ranks())
        save_hf_weights(a_.save, plan_, study_.model, *rank);
    executor.barrier();
  }

  const RunArguments& a_;
  const StudySpec& study_;
  const ExecPlan& plan_;
  const GraphConfig& config_;
  RunDevice& device_;
  bool leader_;
  Console console_;
  TrainingData data_;
};

[[noreturn]] void stopped_early(const RunArguments& a, const TrainResult& r) {
  const std::string how_on = r.checkpoint.empty()
                                 ? "no checkpoint was written"
                                 : fmt::format("--resume goes on from {}", r.checkpoint);
  if (r.end == TrainEnd::kTimeout)
    throw Error(ExitCode::kTimeout,
                fmt::format("stopped after step {}: --timeout {:g} s has passed; {}", r.last_step,
                            a.timeout_s, how_on));
  throw Error(ExitCode::kInterrupted,
              fmt::format("interrupted: stopped after step {}; {}", r.last_step, how_on));
}

void run_on(const RunArguments& a, const StudySpec& study, const ExecPlan& plan,
            const GraphConfig& config, RunDevice& device) {
  TrainResult result;
  try {
    result = Run(a, study, plan, config, device).run();
  } catch (const std::exception& e) {
    device.fail(e.what());
    throw;
  }
  device.finish();
  if (result.end != TrainEnd::kFinished) stopped_early(a, result);
}

void run_verb(const RunArguments& a) {
  const StudySpec study = load_study(a.experiment, a.overrides, data_root());
  check_arguments(a, study);
  if (a.device == "cuda") {
    const int code = start_cuda_ranks(a, study);
    if (code > 0) throw SilentExit{code};
    if (code == 0) return;
  }
  const GraphConfig config{study.model, study.plan, study.stack, study.cluster.node.gpus};
  const ExecPlan plan = compile_plan(config);
  verify_or_throw(plan);
  const Numerics constants = numerics(study.model, study.training.mtp_loss_weight);
  ExecutorOptions options;
  options.seed = static_cast<uint64_t>(study.training.seed);
  options.keep_gradients = !a.gradients.empty();
  options.record = !trace_path(a).empty();
  RunDevice device = a.device == "cpu" ? open_cpu(plan, config, constants, options)
                                       : open_cuda(a, study, plan, config, constants, options);
  run_on(a, study, plan, config, device);
}

}  // namespace

void check_world_size(const PlanSpec& plan, int64_t ranks, const std::string& found) {
  const int64_t needed = plan.world_size();
  if (ranks == needed) return;
  const std::string start =
      needed == 1 ? "start a single process"
                  : fmt::format(
                        "start it with `orrery run --ranks {0}`, `mpirun -n {0} orrery "
                        "run` or `torchrun --no-python --nproc-per-node {0} orrery run`, or "
                        "run all ranks in one process with --device cpu",
                        needed);
  usage(fmt::format("the plan has pipeline_parallel {} x data_parallel {} = {} {}, but {}; {}",
                    plan.pipeline_parallel, plan.data_parallel, needed,
                    needed == 1 ? "rank" : "ranks", found, start));
}

void add_run(CLI::App& app) {
  auto a = std::make_shared<RunArguments>();
  CLI::App* verb = app.add_subcommand("run", "Train the model of an experiment under its plan");
  verb->add_option("experiment", a->experiment, "folder with an experiment.json, or the file")
      ->required();
  verb->add_option("--device", a->device, "cuda, or cpu: all ranks as threads of this process")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  verb->add_option("--steps", a->steps,
                   "stop after this step; by default those of the experiment, whose learning rate "
                   "schedule is kept")
      ->check(CLI::PositiveNumber);
  verb->add_option("--ranks", a->ranks, "cuda: start so many ranks on this machine")
      ->check(CLI::PositiveNumber);
  verb->add_option("--ranks-per-gpu", a->ranks_per_gpu, "cuda: ranks that share a GPU")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--set", a->overrides, "change a value: /json/pointer=value (repeatable)");
  verb->add_option("--out", a->out, "folder for metrics.jsonl and the last step's trace.json");
  verb->add_option("--load", a->load, "folder with Hugging Face safetensors to start from");
  verb->add_option("--save", a->save, "folder for the weights as Hugging Face safetensors");
  verb->add_flag("--resume", a->resume, "go on from the newest checkpoint");
  verb->add_option("--trace", a->trace,
                   "file for the times of the last step's ops, for `orrery compare --run`");
  verb->add_option("--dump-gradients", a->gradients,
                   "folder for the last step's gradients, before clipping, as safetensors");
  verb->add_option("--timeout", a->timeout_s, "stop after the step in which so many seconds end")
      ->check(CLI::PositiveNumber);
  verb->add_option("--comm-timeout", a->comm_timeout_s,
                   "cuda: seconds after which a step counts as stuck (600)")
      ->check(CLI::PositiveNumber);
  verb->add_flag("--quiet", a->quiet, "print nothing but warnings and errors");
  verb->add_option("--progress", a->progress, "auto, or json: one object a line on stderr")
      ->check(CLI::IsMember({"auto", "json"}))
      ->capture_default_str();
  verb->footer(
      "Examples:\n"
      "  orrery run experiments/tiny_moe --device cpu --steps 20 --out results\n"
      "  orrery run experiments/tiny_moe --set /training/checkpoint/every=100 --resume");
  verb->callback([a] { run_verb(*a); });
}

}  // namespace orrery
