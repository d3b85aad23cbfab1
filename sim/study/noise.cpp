#include "sim/study/noise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/base/error.h"

namespace orrery {
namespace {

// Relative popularity of the experts of a layer, in the order of the experts.
std::vector<double> popularity(const NoiseSpec& n, int64_t experts, int layer) {
  std::vector<double> p(static_cast<std::size_t>(experts), 1);
  if (n.distribution == ExpertDistribution::kUniform) return p;
  for (std::size_t k = 0; k < p.size(); ++k)
    p[k] = n.distribution == ExpertDistribution::kZipf
               ? std::pow(static_cast<double>(k + 1), -n.exponent)
               : static_cast<double>(k < n.tokens.size() ? n.tokens[k] : 0);
  // Which expert is the popular one is drawn anew in every layer.
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto key = [&](std::size_t e) {
    return hashed(hashed(n.seed + static_cast<uint64_t>(layer) * 7919) ^ e);
  };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(key(a), a) < std::pair(key(b), b);
  });
  std::vector<double> shuffled(p.size());
  for (std::size_t k = 0; k < p.size(); ++k) shuffled[order[k]] = p[k];
  return shuffled;
}

// The highest load, then the means of equal parts of the others.
std::vector<double> representatives(std::vector<double> loads, std::size_t count) {
  std::sort(loads.rbegin(), loads.rend());
  std::vector<double> out = {loads[0]};
  const std::size_t rest = loads.size() - 1;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    const std::size_t from = 1 + rest * i / (count - 1), to = 1 + rest * (i + 1) / (count - 1);
    out.push_back(std::accumulate(loads.begin() + static_cast<std::ptrdiff_t>(from),
                                  loads.begin() + static_cast<std::ptrdiff_t>(to), 0.0) /
                  static_cast<double>(to - from));
  }
  return out;
}

void add_expert_loads(const StudySpec& s, int64_t ranks, SimNoise& out) {
  const int64_t group = s.plan.expert_parallel;
  const int layers = static_cast<int>(s.model.layers + s.model.mtp_layers);
  for (int layer = 0; layer < layers; ++layer) {
    std::vector<double> loads = expert_loads(s.noise, s.model.experts, group, layer);
    if (ranks < group) {
      loads = representatives(std::move(loads), static_cast<std::size_t>(ranks));
      // Another rank is the loaded one in every layer.
      const auto turn = static_cast<std::ptrdiff_t>(
          hashed(s.noise.seed ^ static_cast<uint64_t>(layer)) % static_cast<uint64_t>(ranks));
      std::rotate(loads.begin(), loads.begin() + turn, loads.end());
    }
    for (int64_t r = 0; r < ranks; ++r)
      out.rows.push_back(loads[static_cast<std::size_t>(r) % loads.size()]);
  }
}

void slow_down(const ExecPlan& plan, int64_t rank, const NoiseSpec::Slow& slow, SimNoise& out) {
  const ExecPlan::Place place = plan.place(rank);
  const std::size_t i = place.rank_class * static_cast<std::size_t>(out.ranks) +
                        static_cast<std::size_t>(place.replica % out.ranks);
  out.compute[i] = std::max(out.compute[i], slow.compute);
  out.network[i] = std::max(out.network[i], slow.network);
}

void add_slow(const StudySpec& s, const ExecPlan& plan, const std::vector<NoiseSpec::Slow>& list,
              bool nodes, SimNoise& out) {
  const std::size_t n = plan.classes.size() * static_cast<std::size_t>(out.ranks);
  out.compute.resize(n, 1), out.network.resize(n, 1);
  const int64_t per = nodes ? s.cluster.node.gpus : 1;
  for (const NoiseSpec::Slow& slow : list) {
    if (slow.index >= plan.ranks() / per)
      throw Infeasible(fmt::format("{}: noise: {} {} is slow, but the plan has {} of them", s.path,
                                   nodes ? "node" : "rank", slow.index, plan.ranks() / per));
    for (int64_t r = slow.index * per; r < (slow.index + 1) * per; ++r)
      slow_down(plan, r, slow, out);
  }
}

std::string part_name(const NoiseSpec& n, NoisePart part) {
  switch (part) {
    case NoisePart::kExpertLoad:
      return n.distribution == ExpertDistribution::kZipf
                 ? fmt::format("expert load (zipf {:g})", n.exponent)
                 : fmt::format("expert load ({})",
                               kExpertDistributionNames[static_cast<std::size_t>(n.distribution)]);
    case NoisePart::kJitter:
      return fmt::format("op jitter {:g} %", 100 * n.op_jitter);
    case NoisePart::kSlowRanks:
      return fmt::format("{} slow rank{}", n.slow_ranks.size(), n.slow_ranks.size() > 1 ? "s" : "");
    case NoisePart::kSlowNodes:
      return fmt::format("{} slow node{}", n.slow_nodes.size(), n.slow_nodes.size() > 1 ? "s" : "");
  }
  return "";
}

std::vector<NoisePart> parts_of(const StudySpec& s) {
  const NoiseSpec& n = s.noise;
  std::vector<NoisePart> parts;
  if (n.has_expert_load && s.model.experts > 0) parts.push_back(NoisePart::kExpertLoad);
  if (n.op_jitter > 0) parts.push_back(NoisePart::kJitter);
  if (!n.slow_ranks.empty()) parts.push_back(NoisePart::kSlowRanks);
  if (!n.slow_nodes.empty()) parts.push_back(NoisePart::kSlowNodes);
  return parts;
}

}  // namespace

std::vector<double> expert_loads(const NoiseSpec& noise, int64_t experts, int64_t expert_parallel,
                                 int layer) {
  const std::vector<double> p = popularity(noise, experts, layer);
  const double all = std::accumulate(p.begin(), p.end(), 0.0);
  const auto per = static_cast<std::size_t>(experts / expert_parallel);
  std::vector<double> loads;
  for (std::size_t r = 0; r < static_cast<std::size_t>(expert_parallel); ++r) {
    double own = 0;
    for (std::size_t e = r * per; e < (r + 1) * per; ++e) own += p[e];
    loads.push_back(all > 0 ? own / all * static_cast<double>(expert_parallel) : 1);
  }
  return loads;
}

SimNoise sim_noise(const StudySpec& study, const ExecPlan& plan, int64_t ranks,
                   const std::vector<NoisePart>& parts) {
  SimNoise out;
  out.ranks = ranks;
  out.seed = study.noise.seed;
  for (const NoisePart part : parts) switch (part) {
      case NoisePart::kExpertLoad:
        add_expert_loads(study, ranks, out);
        break;
      case NoisePart::kJitter:
        out.op_jitter = study.noise.op_jitter;
        break;
      case NoisePart::kSlowRanks:
        add_slow(study, plan, study.noise.slow_ranks, false, out);
        break;
      case NoisePart::kSlowNodes:
        add_slow(study, plan, study.noise.slow_nodes, true, out);
        break;
    }
  return out;
}

NoiseReport simulate_noise(const StudySpec& study, const ExecPlan& plan, const PlanTiming& timing,
                           SimOptions options, StepTrace& trace) {
  NoiseReport report;
  const bool all_ranks = options.folding == Folding::kUnfolded;
  const int64_t all = study.plan.stage_ranks();
  report.simulated_ranks = all_ranks ? all : std::min(study.noise.simulated_ranks, all);
  const std::vector<NoisePart> parts = parts_of(study);
  SimOptions quiet = options;
  quiet.folding = Folding::kFolded;
  quiet.record = false;
  report.without = simulate(plan, timing, quiet).step;
  if (!all_ranks) options.folding = Folding::kSampled;
  options.noise = sim_noise(study, plan, report.simulated_ranks, parts);
  trace = simulate(plan, timing, options);
  options.record = false;
  for (const NoisePart part : parts) {
    options.noise = sim_noise(study, plan, report.simulated_ranks, {part});
    report.parts.push_back({part_name(study.noise, part),
                            parts.size() == 1 ? trace.step : simulate(plan, timing, options).step});
  }
  return report;
}

}  // namespace orrery
