// An experiment: a model on a cluster under a plan and a stack, how to train it, the phases to
// price, and what was published about it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/spec/cluster.h"
#include "sim/spec/model.h"
#include "sim/spec/noise.h"
#include "sim/spec/plan.h"
#include "sim/spec/residuals.h"
#include "sim/spec/stack.h"
#include "sim/spec/training.h"

namespace orrery {

// How the time of a phase is found: by simulating the plan, or, when the phase's layout is not
// known, from its model FLOPs at the rate that the simulated step achieves (a lower bound).
enum class PhaseBasis : uint8_t { kPlan, kFlops };
extern const std::string_view kPhaseBasisNames[2];  // "plan", "flops"

struct PhaseSpec {
  std::string name;
  double tokens = 0;
  int64_t sequence_length = 0;
  PhaseBasis basis = PhaseBasis::kPlan;
  std::string note;
};

// A published figure; `name` is a field of the result ("step_time_s", "breakdown_s/bubble",
// "phases/pre-training/gpu_hours").
struct PublishedValue {
  std::string name;
  double value = 0;
  std::string reference;
};

// What `orrery validate` needs to know of a published run. `published` then begins with the figure
// that counts.
struct ValidationSpec {
  std::string family;
  bool fitted = false;  // a constant of some profile was fitted on this run
  std::string group;    // runs that differ in one choice, whose order must come out; "": none
  std::string missing;  // the mechanism suspected behind the error that is left
};

struct StudySpec {
  std::string name;
  std::string path;  // of the experiment file
  ModelSpec model;
  std::string model_config;  // the config.json that `model` was read from, overrides applied
  ClusterSpec cluster;
  PlanSpec plan;
  StackSpec stack;
  NoiseSpec noise;        // none when the experiment has none
  TrainingSpec training;  // defaults when the experiment has none
  std::optional<Sourced> usd_per_gpu_hour;
  std::vector<PhaseSpec> phases;
  std::vector<PublishedValue> published;
  std::optional<ValidationSpec> validation;
  ResidualSpec residuals;    // that intervals are estimated from
  bool gpu_changed = false;  // an override changed the GPU: it is none that any run was on
};

// Reads `path` (an experiment.json or the folder that holds one). A member that is a string names
// a file, looked for beside the file that names it and then under `data_root`/hardware_profiles,
// with or without ".json"; its content takes the member's place, so that every value has one JSON
// pointer. Then applies `overrides` ("/plan/schedule=1f1b") in order, reads and checks everything.
// Throws InputError with all findings, or Infeasible when the plan cannot run on the cluster.
StudySpec load_study(const std::string& path, const std::vector<std::string>& overrides,
                     const std::string& data_root);

// The steps of load_study, for who changes values in between: the file of `path`, its content with
// everything that it names in its place, and the study that such an object says.
std::string experiment_file(const std::string& path);
json::Node resolve_experiment(const std::string& file, const std::string& data_root);
StudySpec read_experiment(const json::Node& root, const std::string& file);

}  // namespace orrery
