// The training of `orrery run`, on whatever device, and what is written around it.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "runtime/io/durable_file.h"
#include "runtime/model/hf_weights.h"
#include "runtime/train/step_trace.h"
#include "runtime/train/stop_signal.h"
#include "sim/base/file.h"
#include "sim/base/progress.h"
#include "sim/base/text.h"
#include "sim/cli/run.h"

namespace orrery {
namespace {

using Clock = std::chrono::steady_clock;

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
        leader_(device.channel.leader),
        console_(a, leader_),
        data_(study.training, config) {}

  TrainResult run() {
    if (leader_) prepare_folders();
    load();
    const StopSignals signals;
    const TrainingTask task{study_.name, config_, study_.training};
    const TrainResult r =
        train(task, *device_.executor, data_, device_.channel, trainer_options(signals));
    console_.end_progress();
    if (r.end == TrainEnd::kFinished) write_results(r);
    return r;
  }

 private:
  // What cannot be written should not come out after the training.
  void prepare_folders() const {
    for (const std::string& folder : {a_.out, a_.save, a_.gradients})
      if (!folder.empty()) make_folders(folder);
    if (a_.trace.empty()) return;
    const std::string parent = parent_folder(a_.trace);
    std::error_code ignored;
    if (std::filesystem::is_directory(parent, ignored)) return;
    throw Error(ExitCode::kCannotCreate,
                fmt::format("--trace {}: there is no folder {}", a_.trace, parent));
  }

  void load() {
    if (a_.load.empty()) return;
    std::vector<std::string> warnings;
    for (RankState* rank : device_.executor->local_ranks())
      warnings = load_hf_weights(a_.load, plan_, study_.model, *rank);
    if (!leader_) return;
    for (const std::string& w : warnings) console_.warn(w);
  }

  void row(const std::string& text) {
    if (!titled_) title();
    titled_ = true;
    console_.line(text);
  }

  void title() {
    const PlanSpec& p = study_.plan;
    const std::string entropy =
        data_.entropy_nats() ? fmt::format("; entropy of the data {:.4f}", *data_.entropy_nats())
                             : "";
    console_.line(fmt::format("{} on {}: {} {}, {} tokens a step{}", study_.name, device_.name,
                              p.world_size(), p.world_size() == 1 ? "rank" : "ranks",
                              with_commas(p.global_batch * p.sequence_length), entropy));
    if (a_.fake_process_group)
      console_.line(
          fmt::format("fake process group: only rank {} runs and nothing is sent; times and memory "
                      "are those of its compute, losses and gradients mean nothing",
                      a_.rank));
  }

  TrainerOptions trainer_options(const StopSignals& signals) {
    TrainerOptions o;
    o.last_step = a_.steps > 0 ? a_.steps : study_.training.steps;
    o.resume = a_.resume;
    o.metrics_path = a_.in_out("metrics.jsonl");
    o.peak_flops = device_.peak_flops;
    o.require_finite = !a_.fake_process_group;
    if (a_.timeout_s > 0)
      o.stop_at = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                     std::chrono::duration<double>(a_.timeout_s));
    o.row = [this](const std::string& text) { row(text); };
    o.note = [this](const std::string& text) { console_.note(text); };
    o.warn = [this](const std::string& text) { console_.warn(text); };
    o.progress = [this, total = o.last_step](int64_t done) { console_.progress(done, total); };
    o.interrupted = [&signals] { return signals.requested(); };
    return o;
  }

  void write_step_trace() {
    Executor& executor = *device_.executor;
    RunTrace trace = take_trace(plan_, executor, study_.name, device_.name);
    trace.fake_process_group = a_.fake_process_group;
    if (a_.fake_process_group) return write_file_atomically(a_.trace_path(), run_trace_json(trace));
    write_trace(a_.trace_path(), std::move(trace), plan_, executor);
  }

  void write_results(const TrainResult& r) {
    Executor& executor = *device_.executor;
    if (r.last_step < r.first_step) {
      console_.note(fmt::format("nothing to do: the checkpoint is of step {}", r.last_step));
    } else {
      if (!a_.trace_path().empty()) write_step_trace();
      if (!a_.gradients.empty())
        for (const RankState* rank : executor.local_ranks())
          save_hf_gradients(a_.gradients, plan_, study_.model, *rank);
    }
    if (!a_.save.empty()) {
      for (const RankState* rank : executor.local_ranks())
        save_hf_weights(a_.save, plan_, study_.model, *rank);
      if (leader_)
        write_file_atomically((std::filesystem::path(a_.save) / "config.json").string(),
                              study_.model_config);
    }
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
  bool titled_ = false;
};

}  // namespace

std::string RunArguments::in_out(const char* file) const {
  return out.empty() ? "" : (std::filesystem::path(out) / file).string();
}

std::string RunArguments::trace_path() const {
  return trace.empty() ? in_out("trace.json") : trace;
}

TrainResult run_job(const RunArguments& a, const StudySpec& study, const ExecPlan& plan,
                    const GraphConfig& config, RunDevice& device) {
  return Run(a, study, plan, config, device).run();
}

}  // namespace orrery
