#include "sim/report/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

Json breakdown_json(const Breakdown& b) {
  Json j;
  j["forward"] = seconds(b.forward);
  j["backward"] = seconds(b.backward);
  j["backward_input"] = seconds(b.backward_input);
  j["backward_alone"] = seconds(b.backward + b.backward_input);
  j["weight"] = seconds(b.weight);
  j["overlapped_pairs"] = seconds(b.overlapped_pairs);
  j["bubble"] = seconds(b.bubble);
  j["optimizer"] = seconds(b.optimizer);
  Json& exposed = j["exposed_communication"] = Json::object();
  for (int c = 0; c < kKernelClasses; ++c)
    if (b.exposed[c] > Picos(0)) exposed[std::string(kKernelClassNames[c])] = seconds(b.exposed[c]);
  if (b.host > Picos(0)) j["host_wait"] = seconds(b.host);
  return j;
}

Json memory_json(const StageMemory& m) {
  Json j;
  j["pipeline_rank"] = m.rank;
  j["stages"] = m.stages;
  j["peak_GiB"] = gib(m.memory.peak);
  for (int k = 0; k < kBufferKinds; ++k)
    j["by_kind_GiB"][std::string(kBufferKindNames[k])] = gib(m.memory.by_kind[k]);
  j["peak_at"] = m.peak_op;
  if (m.host > Bytes(0)) j["host_GiB"] = gib(m.host);
  return j;
}

Json allocator_json(const AllocatorStats& a) {
  return {{"peak_allocated_GiB", gib(a.peak_allocated)},
          {"peak_reserved_GiB", gib(a.peak_reserved)},
          {"fragmentation", a.fragmentation},
          {"segments", a.segments},
          {"retries", a.retries},
          {"out_of_memory", a.out_of_memory}};
}

Json verdict_json(const Prediction& p) {
  const MemoryVerdict& v = p.verdict;
  Json j = {{"fits", v.fits()},
            {"pipeline_rank", v.rank_class},
            {"peak_GiB", gib(v.peak)},
            {"capacity_GiB", gib(v.capacity)},
            {"margin_GiB", gib(v.margin())},
            {"outside_allocator_GiB", gib(v.outside)}};
  if (v.allocator.peak_reserved > Bytes(0)) {
    j["pytorch_allocator"] = allocator_json(v.allocator);
    j["pytorch_allocator_expandable_segments"] = allocator_json(v.expandable);
  }
  for (const MemoryAdvice& a : p.advice)
    j["advice"].push_back({{"change", a.change},
                           {"peak_GiB", gib(a.peak)},
                           {"step_time_s", seconds(a.step)},
                           {"fits", a.peak <= v.capacity}});
  return j;
}

Json noise_json(const Prediction& p) {
  Json j = {{"simulated_ranks", p.noise->simulated_ranks},
            {"equal_ranks_step_s", seconds(p.noise->without)}};
  j["parts"] = Json::array();
  for (const NoiseCost& c : p.noise->parts)
    j["parts"].push_back({{"name", c.name}, {"extra_s", seconds(c.step - p.noise->without)}});
  j["extra_s"] = seconds(p.trace.step - p.noise->without);
  return j;
}

Json bounds(double figure, const Predictive::Factors& f) {
  return {{"low", figure * f.low}, {"high", figure * f.high}};
}

Json inverse_bounds(double figure, const Predictive::Factors& f) {
  return {{"low", figure / f.high}, {"high", figure / f.low}};
}

// ln(truth / prediction) and what that comes from.
Json basis_json(const FigureInterval& i) {
  return {{"rests_on", i.rests_on},
          {"basis", kErrorBasisNames[static_cast<std::size_t>(i.basis)]},
          {"runs_of_stack", i.error.stack_runs},
          {"runs_on_gpu", i.error.gpu_runs},
          {"ln_centre", i.error.centre},
          {"ln_variance", i.error.variance},
          {"ln_variance_parts",
           {{"stack", i.error.stack_part}, {"gpu", i.error.gpu_part}, {"run", i.error.run_part}}},
          {"degrees_of_freedom", i.error.dof}};
}

// Totals hold phases that are only bounded from below: their upper ends are null.
Json total_bounds(double figure, const Prediction& p, const Predictive::Factors& f) {
  Json j = bounds(figure, f);
  for (const PhaseCost& c : p.phases)
    if (!c.simulated()) j["high"] = nullptr;
  return j;
}

Json interval_json(const Prediction& p) {
  Json j = {{"level", kIntervalLevel}};
  if (p.interval.time) {
    const Predictive::Factors& f = p.interval.time->factors;
    j["step_time_s"] = bounds(p.step_time_s, f);
    j["tokens_per_s_per_gpu"] = inverse_bounds(p.tokens_per_s_per_gpu, f);
    j["tokens_per_day_B"] = inverse_bounds(p.tokens_per_day_B, f);
    j["tflops_per_gpu"] = {{"causal", inverse_bounds(p.tflops_per_gpu.causal, f)},
                           {"non_causal", inverse_bounds(p.tflops_per_gpu.non_causal, f)}};
    j["mfu"] = {{"causal", inverse_bounds(p.mfu.causal, f)},
                {"non_causal", inverse_bounds(p.mfu.non_causal, f)}};
    j["gpu_hours"] = total_bounds(p.gpu_hours, p, f);
    j["days"] = total_bounds(p.days, p, f);
    j["cost_usd"] = total_bounds(p.cost_usd, p, f);
    j["time"] = basis_json(*p.interval.time);
  }
  if (p.interval.memory) {
    j["highest_peak_memory_GiB"] = bounds(gib(p.verdict.peak), p.interval.memory->factors);
    j["memory"] = basis_json(*p.interval.memory);
  }
  return j;
}

Json phase_json(const PhaseCost& c) {
  return {{"name", c.name}, {"tokens", c.tokens},     {"gpu_hours", c.gpu_hours},
          {"days", c.days}, {"cost_usd", c.cost_usd}, {"confidence", c.confidence},
          {"note", c.note}};
}

Json result_json(const Prediction& p) {
  const ParameterCount& n = p.parameters;
  Json j;
  j["schema_version"] = kSchemaVersion;
  j["experiment"] = p.study.name;
  j["model"] = {{"family", p.study.model.family},
                {"parameters", n.total()},
                {"mtp_parameters", n.mtp},
                {"gflop_per_token",
                 {{"causal", p.flops_per_token.causal / 1e9},
                  {"non_causal", p.flops_per_token.non_causal / 1e9}}},
                {"defaulted_keys", p.study.model.defaulted}};
  j["cluster"] = p.study.cluster.name;
  j["gpus"] = static_cast<int64_t>(p.study.cluster.physical_gpus());
  j["plan"] = p.study.plan.name;
  j["schedule"] = kScheduleNames[static_cast<std::size_t>(p.study.plan.schedule)];
  j["stack"] = p.study.stack.name;
  j["step_time_s"] = p.step_time_s;
  j["tokens_per_s_per_gpu"] = p.tokens_per_s_per_gpu;
  j["samples_per_s_per_gpu"] =
      p.tokens_per_s_per_gpu / static_cast<double>(p.study.plan.sequence_length);
  j["tokens_per_day_B"] = p.tokens_per_day_B;
  j["tflops_per_gpu"] = {{"causal", p.tflops_per_gpu.causal},
                         {"non_causal", p.tflops_per_gpu.non_causal}};
  j["mfu"] = {{"causal", p.mfu.causal}, {"non_causal", p.mfu.non_causal}};
  j["breakdown_s"] = breakdown_json(p.breakdown);
  for (const Breakdown& b : p.per_rank) j["breakdown_per_rank_s"].push_back(breakdown_json(b));
  for (const StageMemory& m : p.memory) j["peak_memory_GiB"].push_back(memory_json(m));
  double most = 0;
  for (const StageMemory& m : p.memory) most = std::max(most, gib(m.memory.peak));
  j["highest_peak_memory_GiB"] = most;
  j["allocated_memory_GiB"] = most - gib(p.verdict.outside);
  const AllocatorStats& allocator =
      p.study.stack.expandable_segments ? p.verdict.expandable : p.verdict.allocator;
  if (allocator.peak_reserved > Bytes(0))
    j[std::string(kReservedMemory)] = gib(allocator.peak_reserved);
  j["memory_verdict"] = verdict_json(p);
  if (p.noise) j["noise"] = noise_json(p);
  for (const PhaseCost& c : p.phases) {
    Json phase = phase_json(c);
    if (p.interval.time && c.simulated()) {
      const Predictive::Factors& f = p.interval.time->factors;
      phase["interval"] = {{"gpu_hours", bounds(c.gpu_hours, f)},
                           {"days", bounds(c.days, f)},
                           {"cost_usd", bounds(c.cost_usd, f)}};
    }
    j["phases"].push_back(std::move(phase));
  }
  j["gpu_hours"] = p.gpu_hours;
  j["days"] = p.days;
  j["cost_usd"] = p.cost_usd;
  if (p.study.usd_per_gpu_hour) j["usd_per_gpu_hour"] = p.study.usd_per_gpu_hour->value;
  j["interval"] = interval_json(p);
  j["expert_load_factor"] = p.row_load;
  j["events"] = p.trace.events;
  return j;
}

}  // namespace

bool result_value(const Prediction& p, const std::string& name, double& value) {
  const std::size_t phase = name.find("phases/");
  if (phase == 0) {
    const std::size_t slash = name.rfind('/');
    for (const PhaseCost& c : p.phases) {
      if (name.substr(7, slash - 7) != c.name) continue;
      const Json j = phase_json(c);
      const auto it = j.find(name.substr(slash + 1));
      if (it == j.end() || !it->is_number()) return false;
      value = it->get<double>();
      return true;
    }
    return false;
  }
  const Json j = result_json(p);
  const Json::json_pointer at("/" + name);
  if (!j.contains(at) || !j.at(at).is_number()) return false;
  value = j.at(at).get<double>();
  return true;
}

std::string json_report(const Prediction& p) {
  Json j = result_json(p);
  Json published = Json::array();
  for (const PublishedValue& v : p.study.published) {
    double predicted = 0;
    if (!result_value(p, v.name, predicted)) continue;
    published.push_back({{"name", v.name},
                         {"published", v.value},
                         {"predicted", predicted},
                         {"error_fraction", predicted / v.value - 1},
                         {"reference", v.reference}});
  }
  j["published"] = std::move(published);
  j["warnings"] = p.warnings;
  return j.dump(2) + "\n";
}

}  // namespace orrery
