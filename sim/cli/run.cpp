#include "sim/cli/run.h"

#include <fmt/format.h>

#include <cstdlib>
#include <memory>

#include "runtime/cpu/cpu_executor.h"
#include "runtime/model/device_support.h"
#include "sim/cli/verbs.h"
#include "sim/exec/verify_backend.h"
#include "sim/schedule/compile_plan.h"

namespace orrery {
namespace {

[[noreturn]] void usage(const std::string& message) { throw Error(ExitCode::kUsage, message); }

// One rank has neither the others' weights nor losses that mean anything.
void check_fake_process_group(const RunArguments& a, const StudySpec& study) {
  const int64_t ranks = study.plan.world_size();
  if (a.rank < 0 || a.rank >= ranks)
    usage(fmt::format("--rank {}: the plan has {} {}, 0 to {}", a.rank, ranks,
                      ranks == 1 ? "rank" : "ranks", ranks - 1));
  if (study.training.checkpoint.every > 0)
    usage(
        "--fake-process-group trains nothing that is worth a checkpoint: add --set "
        "/training/checkpoint/every=0");
}

void check_arguments(const RunArguments& a, const StudySpec& study) {
  if (a.resume && !a.load.empty())
    usage("--resume takes the weights from a checkpoint and --load from a model: give one of them");
  if (!a.gradients.empty() && study.plan.dp.zero_stage > 0 && study.plan.world_size() > 1)
    usage(
        "--dump-gradients writes whole gradients, which no rank has when the optimizer states "
        "are split: add --set /plan/zero_stage=0");
  const bool split = study.plan.tensor_parallel > 1 || study.plan.expert_tensor_parallel > 1;
  if (split && !(a.save.empty() && a.gradients.empty()))
    usage(
        fmt::format("{} writes whole matrices, which no rank has with tensor_parallel {} and "
                    "expert_tensor_parallel {}; checkpoints (/training/checkpoint) keep parts",
                    a.save.empty() ? "--dump-gradients" : "--save", study.plan.tensor_parallel,
                    study.plan.expert_tensor_parallel));
  if (a.device == "cuda" && study.plan.dp.optimizer == OptimizerKind::kSgd)
    usage("--device cuda has no optimizer but adamw and muon; --device cpu runs the plan's");
  if (a.device == "cuda" && study.plan.dp.gradient_dtype != ReduceDtype::kFp32)
    usage("--device cuda reduces gradients in FP32 only: add --set /plan/gradient_dtype=fp32");
  if (a.fake_process_group) check_fake_process_group(a, study);
  if (a.device != "cpu") return;
  if (a.ranks > 0)
    check_world_size(study.plan, a.ranks, fmt::format("--ranks asks for {}", a.ranks));
  if (a.ranks_per_gpu > 1) usage("--ranks-per-gpu is for --device cuda");
  if (a.comm_timeout_s > 0) usage("--comm-timeout is for --device cuda");
}

RunDevice open_cpu(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
                   const ExecutorOptions& options) {
  RunDevice d;
  d.name = "cpu";
  d.executor = std::make_unique<CpuExecutor>(plan, config, numerics, options);
  return d;
}

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

// CLI11's own says the range of double instead.
CLI::Validator positive() {
  return CLI::Validator(
      [](std::string& text) {
        char* end = nullptr;
        const double value = std::strtod(text.c_str(), &end);
        const bool above = *end == '\0' && value > 0;
        return above ? std::string() : fmt::format("found {}, expected more than 0", text);
      },
      "POSITIVE");
}

void check_cuda_precision(const PlanSpec& plan) {
  if (plan.precision == Precision::kBf16 || plan.precision == Precision::kFp8) return;
  throw Infeasible(fmt::format(
      "precision {}: the CUDA backend has no kernels for its casts and products, only for bf16 and "
      "fp8 (1x128 tiles); --device cpu runs it with its rounding",
      kPrecisionNames[static_cast<std::size_t>(plan.precision)]));
}

void run_verb(const RunArguments& a) {
  const StudySpec study = load_study(a.experiment, a.overrides, data_root());
  check_arguments(a, study);
  const GraphConfig config{study.model, study.plan, study.stack, study.cluster.node.gpus};
  const ExecPlan plan = compile_plan(config);
  require_kernels(a.device == "cuda", plan, study.model);
  if (a.device == "cuda") {
    check_cuda_precision(study.plan);
    const int code = start_cuda_ranks(a, study);
    if (code > 0) throw SilentExit{code};
    if (code == 0) return;
  }
  verify_or_throw(plan);
  const Numerics constants = numerics(study.model, study.training.mtp_loss_weight);
  ExecutorOptions options;
  options.seed = static_cast<uint64_t>(study.training.seed);
  options.keep_gradients = !a.gradients.empty();
  options.record = !a.trace_path().empty();
  if (a.fake_process_group) options.fake_group_rank = a.rank;
  RunDevice device = a.device == "cpu" ? open_cpu(plan, config, constants, options)
                                       : open_cuda(a, study, plan, config, constants, options);
  TrainResult result;
  try {
    result = run_job(a, study, plan, config, device);
  } catch (const Error& e) {
    device.fail(e);
    throw;
  } catch (const std::exception& e) {
    device.fail(Error(ExitCode::kInternal, e.what()));
    throw;
  }
  device.finish();
  if (result.end != TrainEnd::kFinished) stopped_early(a, result);
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
  usage(fmt::format("the plan has {} = {} {}, but {}; {}", layout_product(plan), needed,
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
      ->check(positive());
  verb->add_option("--ranks", a->ranks, "cuda: start so many ranks on this machine")
      ->check(positive());
  verb->add_option("--ranks-per-gpu", a->ranks_per_gpu, "cuda: ranks that share a GPU")
      ->check(positive())
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
  CLI::Option* fake =
      verb->add_flag("--fake-process-group", a->fake_process_group,
                     "run one rank of the plan without the others: collectives are local copies, "
                     "losses mean nothing, times and memory are those of its compute")
          ->excludes("--ranks")
          ->excludes("--ranks-per-gpu")
          ->excludes("--load")
          ->excludes("--save")
          ->excludes("--resume")
          ->excludes("--dump-gradients");
  verb->add_option("--rank", a->rank, "with --fake-process-group: the rank that runs")
      ->needs(fake)
      ->capture_default_str();
  verb->add_option("--timeout", a->timeout_s, "stop after the step in which so many seconds end")
      ->check(positive());
  verb->add_option("--comm-timeout", a->comm_timeout_s,
                   "cuda: seconds after which a step counts as stuck (600)")
      ->check(positive());
  verb->add_flag("--quiet", a->quiet, "print nothing but warnings and errors");
  verb->add_option("--progress", a->progress, "auto, or json: one object a line on stderr")
      ->check(CLI::IsMember({"auto", "json"}))
      ->capture_default_str();
  verb->footer(
      "Examples:\n"
      "  orrery run experiments/tiny_moe --device cpu --steps 20 --out results\n"
      "  orrery run experiments/tiny_moe --set /training/checkpoint/every=100 --resume\n"
      "  orrery run experiments/tiny_moe_4_ranks --fake-process-group --rank 2 --trace rank2.json");
  verb->callback([a] { run_verb(*a); });
}

}  // namespace orrery
