#include "sim/study/predict.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/exec/verify_backend.h"
#include "sim/schedule/compile_plan.h"
#include "sim/study/skew.h"

namespace orrery {
namespace {

constexpr double kSecondsPerHour = 3600;
constexpr double kSecondsPerDay = 86400;

Breakdown breakdown_of(const ClassTime& t) {
  const auto at = [&](BlockKind k) { return t.block[static_cast<std::size_t>(k)]; };
  Breakdown b;
  b.forward = at(BlockKind::kForward);
  b.backward = at(BlockKind::kBackward);
  b.backward_input = at(BlockKind::kBackwardInput);
  b.weight = at(BlockKind::kWeight);
  b.overlapped_pairs = at(BlockKind::kPair);
  b.optimizer = at(BlockKind::kOptimizer);
  b.bubble = t.bubble;
  for (const auto& row : t.exposed)
    for (int c = 0; c < kKernelClasses; ++c) b.exposed[c] += row[c];
  for (const Picos wait : t.host) b.host += wait;
  return b;
}

Breakdown mean(const std::vector<Breakdown>& ranks, Picos step) {
  const auto n = static_cast<int64_t>(ranks.size());
  Breakdown m;
  const auto average = [&](Picos Breakdown::*part) {
    Picos sum;
    for (const Breakdown& r : ranks) sum += r.*part;
    return sum / n;
  };
  m.forward = average(&Breakdown::forward);
  m.backward = average(&Breakdown::backward);
  m.backward_input = average(&Breakdown::backward_input);
  m.weight = average(&Breakdown::weight);
  m.overlapped_pairs = average(&Breakdown::overlapped_pairs);
  m.optimizer = average(&Breakdown::optimizer);
  m.host = average(&Breakdown::host);
  m.bubble = step - m.forward - m.backward - m.backward_input - m.weight - m.overlapped_pairs -
             m.optimizer;
  for (int c = 0; c < kKernelClasses; ++c) {
    for (const Breakdown& r : ranks) m.exposed[c] += r.exposed[c];
    m.exposed[c] = m.exposed[c] / n;
  }
  return m;
}

void price_phases(Prediction& p) {
  const StudySpec& s = p.study;
  const double gpus = s.cluster.physical_gpus();
  for (const PhaseSpec& phase : s.phases) {
    PhaseCost c;
    c.name = phase.name;
    c.tokens = phase.tokens;
    c.note = phase.note;
    double seconds_needed = 0;
    if (phase.basis == PhaseBasis::kPlan) {
      seconds_needed = phase.tokens / p.tokens_per_step * p.step_time_s;
      c.confidence = "simulated";
    } else {
      const ModelFlops f = model_flops_per_token(s.model, phase.sequence_length);
      seconds_needed = phase.tokens * f.causal / (p.tflops_per_gpu.causal * 1e12 * gpus);
      c.confidence = "extrapolated";
      p.warnings.push_back(
          fmt::format("phase \"{}\": layout unknown; cost from model FLOPs at the simulated step's "
                      "rate, a lower "
                      "bound",
                      phase.name));
    }
    c.gpu_hours = seconds_needed * gpus / kSecondsPerHour;
    c.days = seconds_needed / kSecondsPerDay;
    c.cost_usd = c.gpu_hours * s.usd_per_gpu_hour->value;
    p.gpu_hours += c.gpu_hours;
    p.days += c.days;
    p.cost_usd += c.cost_usd;
    p.phases.push_back(c);
  }
}

void rates(Prediction& p) {
  const StudySpec& s = p.study;
  const double gpus = s.cluster.physical_gpus();
  p.step_time_s = seconds(p.trace.step);
  p.tokens_per_step = static_cast<double>(s.plan.global_batch * s.plan.sequence_length);
  p.tokens_per_s_per_gpu = p.tokens_per_step / p.step_time_s / gpus;
  p.tokens_per_day_B = p.tokens_per_step / p.step_time_s * kSecondsPerDay / 1e9;
  p.flops_per_token = model_flops_per_token(s.model, s.plan.sequence_length);
  const double peak = s.cluster.node.gpu.bf16_dense_TFLOPS.value;
  p.tflops_per_gpu = {p.tokens_per_s_per_gpu * p.flops_per_token.causal / 1e12,
                      p.tokens_per_s_per_gpu * p.flops_per_token.non_causal / 1e12};
  p.mfu = {p.tflops_per_gpu.causal / peak, p.tflops_per_gpu.non_causal / peak};
}

// What a plan that does not fit could change, each with the peak that it was simulated to have.
std::string advice_text(const Prediction& p) {
  std::string out;
  for (const MemoryAdvice& a : p.advice)
    out += fmt::format("\n  {}: {:.1f} GiB ({:+.1f}), step {:.3f} s{}", a.change, gib(a.peak),
                       gib(a.peak) - gib(p.verdict.peak), seconds(a.step),
                       a.peak <= p.verdict.capacity ? ", fits" : "");
  return out.empty() ? out : "; simulated changes that help:" + out;
}

void check_memory(Prediction& p, const ExecPlan& plan, const PredictOptions& options) {
  for (std::size_t i = 0; i < plan.classes.size(); ++i) {
    const ClassMemory& m = p.trace.memory[i];
    p.memory.push_back({static_cast<int>(i), plan.classes[i].stage_of_chunk, m,
                        plan.classes[i].host_bytes + m.host,
                        m.peak_op == UINT32_MAX ? "" : plan.op_name(m.peak_op)});
  }
  p.verdict = memory_verdict(p.study, p.trace);
  if (options.replay_allocator || options.explain_memory) replay_allocators(p.verdict, plan);
  if (p.verdict.fits()) return;
  if (options.explain_memory) p.advice = memory_advice(p.study, p.verdict.peak);
  const StageMemory& worst = p.memory[p.verdict.rank_class];
  const auto largest = static_cast<std::size_t>(
      std::max_element(std::begin(worst.memory.by_kind), std::end(worst.memory.by_kind)) -
      std::begin(worst.memory.by_kind));
  const std::string message = fmt::format(
      "out of memory: pipeline rank {} peaks at {:.1f} GiB of {:g} GiB, at {}; the largest part is "
      "{} with {:.1f} GiB{}",
      worst.rank, gib(worst.memory.peak), p.study.cluster.node.memory_per_rank_GiB(), worst.peak_op,
      kBufferKindNames[largest], gib(worst.memory.by_kind[largest]), advice_text(p));
  if (!options.allow_oom) throw Infeasible(message);
  p.warnings.push_back(message);
}

// Says when the GPUs wait for their hosts.
void check_host(Prediction& p) {
  constexpr double kWorthSaying = 0.02;  // of the step
  Picos most;
  for (const Picos wait : p.trace.host_wait) most = std::max(most, wait);
  for (const Breakdown& b : p.per_rank) most = std::max(most, b.host);
  const double share = seconds(most) / seconds(p.trace.step);
  if (share < kWorthSaying) return;
  if (p.study.stack.host) {
    p.warnings.push_back(fmt::format(
        "CPU-bound: compute kernels wait {:.1f} % of the step for the host to issue them (host of "
        "stack {}); CUDA graphs, fewer experts per rank or a larger micro-batch would hide that",
        100 * share, p.study.stack.name));
    return;
  }
  p.warnings.push_back(
      fmt::format("CPU-bound: compute kernels wait {:.1f} % of the step for the host, which issues "
                  "one every {:g} us (host_issue_us of stack {}); CUDA graphs, fused kernels or a "
                  "larger micro-batch would hide that",
                  100 * share, p.study.stack.host_issue_us.value, p.study.stack.name));
}

}  // namespace

SimOptions sim_options(const StudySpec& study) {
  SimOptions o;
  o.reserved = from_gib(study.stack.reserved_GiB.value);
  o.gpus_per_node = study.cluster.node.gpus;
  o.expert_parallel = study.plan.expert_parallel;
  if (!study.stack.host) o.host_issue = from_micros(study.stack.host_issue_us.value);
  return o;
}

CompiledStudy compile_study(const StudySpec& study, CollectiveTier collectives) {
  CompiledStudy c{{study.model, study.plan, study.stack, study.cluster.node.gpus}, {}, {}, 1};
  c.plan = compile_plan(c.graph);
  c.row_load = study.noise.has_expert_load ? 1 : effective_row_load(study);
  c.timing = time_ops(c.plan, {c.graph, study.cluster, collectives}, c.row_load);
  return c;
}

Prediction predict(const StudySpec& study, const PredictOptions& options) {
  Prediction p;
  p.study = study;
  p.parameters = count_parameters(study.model);
  CompiledStudy compiled = compile_study(p.study, options.collectives);
  p.row_load = compiled.row_load;
  if (options.verified != nullptr)
    options.verified->verify(compiled.plan);
  else
    verify_or_throw(compiled.plan);
  SimOptions sim = sim_options(study);
  sim.folding = options.folding;
  sim.record = options.record;
  sim.fast_forward = options.fast_forward;
  sim.progress = options.progress;
  if (study.noise.any())
    p.noise = simulate_noise(study, compiled.plan, compiled.timing, sim, p.trace);
  else
    p.trace = simulate(compiled.plan, compiled.timing, sim);
  for (const ClassTime& t : p.trace.time) p.per_rank.push_back(breakdown_of(t));
  p.breakdown = mean(p.per_rank, p.trace.step);
  p.ops = p.trace.events;
  rates(p);
  check_memory(p, compiled.plan, options);
  check_host(p);
  price_phases(p);
  p.interval =
      prediction_interval(study, rate_shares(compiled.plan, compiled.timing, compiled.graph));
  p.plan = std::move(compiled.plan);
  return p;
}

}  // namespace orrery
