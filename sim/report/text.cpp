#include "sim/report/text.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/base/text.h"
#include "sim/report/interval_text.h"
#include "sim/report/json.h"

namespace orrery {
namespace {

std::string rounded(double v) {
  if (v >= 1e5 || v <= -1e5) return with_commas(static_cast<long long>(v + 0.5));
  if (v >= 100) return fmt::format("{:.1f}", v);
  return v >= 10 ? fmt::format("{:.2f}", v) : fmt::format("{:.3f}", v);
}

std::string share(Picos part, Picos whole) {
  return fmt::format("{:5.1f} %", 100 * seconds(part) / seconds(whole));
}

// "PP16 TP8+SP EP64 DP128": what is used of each kind of parallelism.
std::string layout(const PlanSpec& p) {
  std::string s = fmt::format("PP{}", p.pipeline_parallel);
  if (p.tensor_parallel > 1)
    s += fmt::format(" TP{}{}", p.tensor_parallel, p.sequence_parallel ? "+SP" : "");
  if (p.context_parallel > 1) s += fmt::format(" CP{}", p.context_parallel);
  s += fmt::format(" EP{}", p.expert_parallel);
  if (p.expert_tensor_parallel > 1) s += fmt::format(" ETP{}", p.expert_tensor_parallel);
  return s + fmt::format(" DP{}", p.data_parallel);
}

// "optimizer states and activations": what the plan keeps in host memory.
std::string offloaded(const PlanSpec& p) {
  const bool states = p.dp.offload_optimizer, activations = p.offload_activations.has_value();
  return fmt::format("{}{}{}", states ? "optimizer states" : "",
                     states && activations ? " and " : "", activations ? "activations" : "");
}

// What is not AdamW on the GPU.
std::string optimizer_text(const PlanSpec& p) {
  const std::string s = p.dp.optimizer == OptimizerKind::kMuon ? ", Muon" : "";
  const std::string host = offloaded(p);
  return host.empty() ? s : s + ", " + host + " in host memory";
}

std::string gpu_count(const ClusterSpec& c) {
  if (c.node.ranks_per_gpu == 1) return fmt::format("{} GPUs", c.gpus());
  return fmt::format("{} ranks, {} to a GPU,", c.gpus(), c.node.ranks_per_gpu);
}

std::string header(const Prediction& p) {
  const StudySpec& s = p.study;
  std::string out =
      fmt::format("{}: {} parameters (+ {} in MTP), {} of {}\n", s.name,
                  fmt::format("{:.1f}B", static_cast<double>(p.parameters.total()) / 1e9),
                  fmt::format("{:.1f}B", static_cast<double>(p.parameters.mtp) / 1e9),
                  gpu_count(s.cluster), s.cluster.name);
  out += fmt::format(
      "plan {}: {}, schedule {}, ZeRO-{}{}, {} sequences of {} a step in {} "
      "micro-batches "
      "per pipeline; stack {}\n",
      s.plan.name, layout(s.plan), kScheduleNames[static_cast<std::size_t>(s.plan.schedule)],
      s.plan.dp.zero_stage, optimizer_text(s.plan), with_commas(s.plan.global_batch),
      s.plan.sequence_length, s.plan.micro_batches(), s.stack.name);
  std::string split;
  for (int64_t n : s.plan.layers_per_stage) split += fmt::format(" {}", n);
  out += fmt::format("layers per stage:{} (embedding on the first, head and MTP on the last)\n",
                     split);
  if (!s.model.defaulted.empty()) {
    std::string keys;
    for (const std::string& k : s.model.defaulted) keys += (keys.empty() ? "" : ", ") + k;
    out += fmt::format("model keys left to the family's defaults: {}\n", keys);
  }
  return out;
}

std::string step_section(const Prediction& p) {
  Table t;
  const auto row = [&](const char* name, double figure, bool inverse, int decimals,
                       const char* unit) {
    t.row({name, fmt::format("{:.{}f}{}", figure, decimals, unit),
           time_range(p, figure, inverse, decimals)});
  };
  row("step time", p.step_time_s, false, 3, " s");
  row("tokens per second per GPU", p.tokens_per_s_per_gpu, true, 1, "");
  row("tokens per day", p.tokens_per_day_B, true, 1, " B");
  t.row({"TFLOPS per GPU, causal / non-causal",
         fmt::format("{:.1f} / {:.1f}", p.tflops_per_gpu.causal, p.tflops_per_gpu.non_causal)});
  t.row({"MFU, causal / non-causal",
         fmt::format("{:.2f} % / {:.2f} %", 100 * p.mfu.causal, 100 * p.mfu.non_causal)});
  if (p.row_load > 1)
    t.row({"expert compute, for uneven loads", fmt::format("x {:.3f}", p.row_load)});
  return "\nStep\n" + t.str() + interval_basis("", p.interval.time) +
         fmt::format(
             "  MFU: model FLOPs (forward + backward, no recompute, no MTP: {:.1f} / {:.1f} "
             "GFLOP per token) over {:g} TFLOPS BF16 dense\n",
             p.flops_per_token.causal / 1e9, p.flops_per_token.non_causal / 1e9,
             p.study.cluster.node.gpu.bf16_dense_TFLOPS.value);
}

std::string breakdown_section(const Prediction& p) {
  const Breakdown& b = p.breakdown;
  Table t;
  t.row({"", "s", "share"});
  const auto row = [&](const char* name, Picos v) {
    if (v != Picos(0)) t.row({name, fmt::format("{:.3f}", seconds(v)), share(v, p.trace.step)});
  };
  row("forward", b.forward);
  row("backward (input and weight)", b.backward);
  row("backward, input only", b.backward_input);
  row("weight gradients", b.weight);
  row("overlapped forward + backward", b.overlapped_pairs);
  row("bubble", b.bubble);
  row("optimizer", b.optimizer);
  t.rule();
  row("step", p.trace.step);
  std::string out = "\nWhere the step goes (mean over pipeline ranks)\n" + t.str();
  Table e;
  for (int c = 0; c < kKernelClasses; ++c)
    if (b.exposed[c] > Picos(0))
      e.row({fmt::format("waiting for {}", kKernelClassNames[c]),
             fmt::format("{:.3f}", seconds(b.exposed[c])), share(b.exposed[c], p.trace.step)});
  const std::string exposed = e.str();
  if (!exposed.empty()) out += "  of which exposed communication\n" + e.str("    ");
  if (b.host > Picos(0))
    out += fmt::format("  of which waiting for the host to launch: {:.3f} s, {}\n", seconds(b.host),
                       share(b.host, p.trace.step));
  return out;
}

std::string memory_section(const Prediction& p) {
  Table t;
  std::vector<std::string> head = {"PP rank (stages)", "peak"};
  for (std::string_view k : kBufferKindNames) head.emplace_back(k);
  t.row(head);
  for (const StageMemory& m : p.memory) {
    std::string stages;
    for (int s : m.stages) stages += fmt::format("{}{}", stages.empty() ? "" : ", ", s);
    std::vector<std::string> row = {fmt::format("{} ({})", m.rank, stages),
                                    fmt::format("{:.1f}", gib(m.memory.peak))};
    for (Bytes b : m.memory.by_kind) row.push_back(fmt::format("{:.1f}", gib(b)));
    t.row(row);
  }
  Bytes host{0};
  for (const StageMemory& m : p.memory) host = std::max(host, m.host);
  const NodeSpec& node = p.study.cluster.node;
  const char* of = node.ranks_per_gpu == 1 ? "GPU" : "rank";
  std::string out =
      fmt::format("\nPeak memory per {}, GiB (capacity {:g})\n", of, node.memory_per_rank_GiB()) +
      t.str();
  if (host > Bytes(0))
    out += fmt::format("  in host memory: {:.1f} GiB of {} per {}\n", gib(host),
                       offloaded(p.study.plan), of);
  return out;
}

std::string verdict_section(const Prediction& p) {
  const MemoryVerdict& v = p.verdict;
  const AllocatorStats& a = v.allocator;
  std::string out = fmt::format("  {}: rank {} has {:.1f} GiB {} ({:.1f} %)\n",
                                v.fits() ? "fits" : "does not fit", v.rank_class,
                                std::abs(gib(v.margin())), v.fits() ? "to spare" : "too much",
                                100 * std::abs(gib(v.margin()) / gib(v.capacity)));
  out += peak_range(p);
  if (a.peak_reserved == Bytes(0)) return out;
  const auto reserved = [&](const AllocatorStats& s) { return gib(s.peak_reserved + v.outside); };
  out += fmt::format(
      "  with PyTorch's allocator {:.1f} GiB reserved ({:.1f} % unused at that peak{}), with "
      "expandable segments {:.1f}; {:.1f} of them outside the allocator\n",
      reserved(a), 100 * a.fragmentation, a.out_of_memory ? "; more than there is" : "",
      reserved(v.expandable), gib(v.outside));
  return out;
}

std::string noise_section(const Prediction& p) {
  if (!p.noise) return "";
  const NoiseReport& n = *p.noise;
  Table t;
  const auto row = [&](const std::string& name, Picos step) {
    const double extra = seconds(step - n.without);
    t.row({name, fmt::format("{:+.3f} s", extra), signed_percent(extra / seconds(n.without))});
  };
  t.row({"equal ranks", fmt::format("{:.3f} s", seconds(n.without))});
  for (const NoiseCost& c : n.parts) row(c.name, c.step);
  t.rule();
  row("all together", p.trace.step);
  return fmt::format("\nUnequal ranks ({} of each pipeline position simulated)\n",
                     n.simulated_ranks) +
         t.str();
}

std::string cost_section(const Prediction& p) {
  if (p.phases.empty()) return "";
  Table t;
  const std::string level = fmt::format("{:.0f} %", 100 * kIntervalLevel);
  t.row({"phase", "tokens", "GPU-hours", level, "days", "cost", level, "confidence"});
  double bound_hours = 0, bound_cost = 0;
  for (const PhaseCost& c : p.phases) {
    const bool bound = !c.simulated();
    bound_hours += bound ? c.gpu_hours : 0, bound_cost += bound ? c.cost_usd : 0;
    t.row({c.name, fmt::format("{:.4g} T", c.tokens / 1e12),
           with_commas(static_cast<long long>(c.gpu_hours + 0.5)),
           hours_range(p, bound ? 0 : c.gpu_hours, bound ? c.gpu_hours : 0),
           fmt::format("{:.1f}", c.days), fmt::format("${:.3f}M", c.cost_usd / 1e6),
           cost_range(p, bound ? 0 : c.cost_usd, bound ? c.cost_usd : 0), c.confidence});
  }
  t.rule();
  t.row({"total", "", with_commas(static_cast<long long>(p.gpu_hours + 0.5)),
         hours_range(p, p.gpu_hours - bound_hours, bound_hours), fmt::format("{:.1f}", p.days),
         fmt::format("${:.3f}M", p.cost_usd / 1e6),
         cost_range(p, p.cost_usd - bound_cost, bound_cost), ""});
  return fmt::format("\nTraining cost at ${:g} per GPU-hour\n", p.study.usd_per_gpu_hour->value) +
         t.str();
}

std::string published_section(const Prediction& p) {
  if (p.study.published.empty()) return "";
  Table t;
  t.row({"", "predicted", "published", "error"});
  for (const PublishedValue& v : p.study.published) {
    double predicted = 0;
    if (!result_value(p, v.name, predicted)) {
      t.row({v.name, "-", rounded(v.value), "not predicted"});
      continue;
    }
    t.row({v.name, rounded(predicted), rounded(v.value), signed_percent(predicted / v.value - 1)});
  }
  return "\nBeside the published record\n" + t.str();
}

}  // namespace

std::string text_report(const Prediction& p) {
  std::string out = header(p) + step_section(p) + breakdown_section(p) + memory_section(p) +
                    verdict_section(p) + noise_section(p) + cost_section(p) + published_section(p);
  for (const std::string& w : p.warnings) out += "\nwarning: " + w;
  if (!p.warnings.empty()) out += "\n";
  return out;
}

}  // namespace orrery
