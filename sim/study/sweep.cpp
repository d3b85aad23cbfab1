#include "sim/study/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "sim/base/error.h"
#include "sim/base/parallel.h"
#include "sim/study/analytic.h"
#include "sim/study/predict.h"

namespace orrery {

const std::string_view kSweepOutcomes[4] = {"fits", "out_of_memory", "infeasible", "invalid"};

namespace {

std::vector<std::string> split_values(std::string_view text) {
  std::vector<std::string> out(1);
  int depth = 0;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted && (c == '[' || c == '{')) ++depth;
    if (!quoted && (c == ']' || c == '}')) --depth;
    if (c == ',' && depth == 0 && !quoted)
      out.emplace_back();
    else
      out.back() += c;
  }
  return out;
}

void analytic_point(const StudySpec& s, SweepPoint& p) {
  p.step_time_s = analytic_step(s).step_s;
  const double tokens = static_cast<double>(s.plan.global_batch * s.plan.sequence_length);
  p.tokens_per_s_per_gpu = tokens / p.step_time_s / s.cluster.physical_gpus();
  p.mfu = p.tokens_per_s_per_gpu * model_flops_per_token(s.model, s.plan.sequence_length).causal /
          (s.cluster.node.gpu.bf16_dense_TFLOPS.value * 1e12);
}

void flow_point(const StudySpec& s, VerifiedPlans& verified, SweepPoint& p) {
  PredictOptions options;
  options.allow_oom = true;
  options.verified = &verified;
  const Prediction r = predict(s, options);
  p.step_time_s = r.step_time_s;
  p.tokens_per_s_per_gpu = r.tokens_per_s_per_gpu;
  p.mfu = r.mfu.causal;
  p.cost_usd = r.cost_usd;
  if (r.interval.time) p.time_factors = r.interval.time->factors;
  if (r.interval.memory) p.memory_factors = r.interval.memory->factors;
  for (const StageMemory& m : r.memory)
    p.peak_memory_GiB = std::max(p.peak_memory_GiB, gib(m.memory.peak));
  if (p.peak_memory_GiB > s.cluster.node.memory_per_rank_GiB())
    p.outcome = SweepPoint::Outcome::kOutOfMemory;
}

SweepPoint run_point(const SweepSpec& spec, std::size_t index, const std::string& data_root,
                     VerifiedPlans& verified) {
  SweepPoint p;
  p.values.resize(spec.axes.size());
  std::vector<std::string> overrides = spec.overrides;
  for (std::size_t a = spec.axes.size(); a-- > 0;) {
    const SweepAxis& axis = spec.axes[a];
    p.values[a] = axis.values[index % axis.values.size()];
    index /= axis.values.size();
  }
  for (std::size_t a = 0; a < spec.axes.size(); ++a)
    overrides.push_back(spec.axes[a].pointer + "=" + p.values[a]);
  try {
    const StudySpec s = load_study(spec.experiment, overrides, data_root);
    spec.fidelity == Fidelity::kAnalytic ? analytic_point(s, p) : flow_point(s, verified, p);
  } catch (const Infeasible& e) {
    p.outcome = SweepPoint::Outcome::kInfeasible;
    p.note = e.what();
  } catch (const InputError& e) {
    p.outcome = SweepPoint::Outcome::kInvalid;
    p.note = e.what();
  }
  return p;
}

}  // namespace

SweepAxis parse_axis(const std::string& text) {
  const std::size_t eq = text.find('=');
  if (text.empty() || text[0] != '/' || eq == std::string::npos || eq + 1 == text.size())
    throw Error(ExitCode::kUsage,
                fmt::format("--vary {}: expected /json/pointer=value,value,... for example --vary "
                            "/plan/micro_batch=1,2,4",
                            text));
  return {text.substr(0, eq), split_values(std::string_view(text).substr(eq + 1))};
}

std::vector<SweepPoint> sweep(const SweepSpec& spec, const std::string& data_root) {
  load_study(spec.experiment, spec.overrides, data_root);
  std::size_t n = 1;
  for (const SweepAxis& a : spec.axes) n *= a.values.size();
  std::vector<SweepPoint> points(n);
  VerifiedPlans verified;
  std::mutex mutex;
  int64_t done = 0;
  for_each_index(n, spec.threads, [&](std::size_t i) {
    points[i] = run_point(spec, i, data_root, verified);
    const std::lock_guard lock(mutex);
    ++done;
    if (spec.progress) spec.progress(done);
  });
  return points;
}

}  // namespace orrery
