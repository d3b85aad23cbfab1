#include "sim/report/analytic.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "sim/base/text.h"
#include "sim/report/json.h"

namespace orrery {
namespace {

struct Rates {
  double tokens_per_s_per_gpu, tflops_per_gpu, mfu;
};

Rates rates(const StudySpec& s, const AnalyticStep& step) {
  const double tokens = static_cast<double>(s.plan.global_batch * s.plan.sequence_length);
  const double per_gpu = tokens / step.step_s / s.cluster.physical_gpus();
  const double tflops =
      per_gpu * model_flops_per_token(s.model, s.plan.sequence_length).causal / 1e12;
  return {per_gpu, tflops, tflops / s.cluster.node.gpu.bf16_dense_TFLOPS.value};
}

}  // namespace

std::string analytic_text(const StudySpec& study, const AnalyticStep& step) {
  const Rates r = rates(study, step);
  Table t;
  t.row({"step time, at least", fmt::format("{:.3f} s", step.step_s)});
  t.row({"tokens per second per GPU, at most", fmt::format("{:.1f}", r.tokens_per_s_per_gpu)});
  t.row({"TFLOPS per GPU, at most", fmt::format("{:.1f}", r.tflops_per_gpu)});
  t.row({"MFU (causal), at most", fmt::format("{:.2f} %", 100 * r.mfu)});
  Table p;
  p.row({fmt::format("of which, on pipeline rank {}", step.rank), "s"});
  p.row({"work", fmt::format("{:.3f}", step.work_s)});
  p.row({"  of which compute", fmt::format("{:.3f}", step.compute_s)});
  p.row({"bubble", fmt::format("{:.3f}", step.bubble_s)});
  p.row({"optimizer", fmt::format("{:.3f}", step.optimizer_s)});
  return fmt::format("{}: analytic bound of plan {} on {}\n\n", study.name, study.plan.name,
                     study.cluster.name) +
         t.str() + "\n" + p.str();
}

std::string analytic_json(const StudySpec& study, const AnalyticStep& step) {
  const Rates r = rates(study, step);
  nlohmann::ordered_json j;
  j["schema_version"] = kSchemaVersion;
  j["fidelity"] = "analytic";
  j["experiment"] = study.name;
  j["step_time_s"] = step.step_s;
  j["tokens_per_s_per_gpu"] = r.tokens_per_s_per_gpu;
  j["tflops_per_gpu"] = {{"causal", r.tflops_per_gpu}};
  j["mfu"] = {{"causal", r.mfu}};
  j["bound"] = {{"pipeline_rank", step.rank},
                {"work_s", step.work_s},
                {"compute_s", step.compute_s},
                {"bubble_s", step.bubble_s},
                {"optimizer_s", step.optimizer_s}};
  return j.dump(2) + "\n";
}

}  // namespace orrery
