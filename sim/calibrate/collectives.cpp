#include "sim/calibrate/collectives.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/base/casts.h"
#include "sim/calibrate/robust.h"
#include "sim/net/fabric.h"

namespace orrery {
namespace {

using Indices = std::vector<std::size_t>;

constexpr double kCollectiveOutlierSigmas = 5, kCollectiveOutlierFloor = 0.3;

struct Model {
  ClusterSpec cluster;
  CollectiveSpec spec;
  double call_us = 0;  // added to every base latency
};

CollectiveSpec with_call(const Model& m) {
  CollectiveSpec s = m.spec;
  for (const Algorithm a : {Algorithm::kRing, Algorithm::kTree, Algorithm::kNvls,
                            Algorithm::kNvlsTree, Algorithm::kPat})
    for (double& us : s.base_latency_us[at(a)]) us = std::max(0.0, us + m.call_us);
  return s;
}

// The first ranks of as many nodes as the point has.
GroupLinks links_of(const ClusterSpec& cluster, const MeasuredPoint& p) {
  const int64_t per_node = p.ranks / p.nodes;
  std::vector<int64_t> ranks;
  for (int64_t n = 0; n < p.nodes; ++n)
    for (int64_t r = 0; r < per_node; ++r) ranks.push_back(n * cluster.node.gpus + r);
  const bool all_to_all = p.collective == Collective::kAllToAll;
  return group_links(cluster, ranks, all_to_all ? TrafficPattern::kPairs : TrafficPattern::kRing,
                     nullptr);
}

double predicted_us(const Model& m, const MeasuredPoint& p) {
  return 1e6 *
         collective_cost(with_call(m), p.collective, links_of(m.cluster, p), p.bytes).seconds();
}

FreeConstant<Model> constant(std::string pointer, std::function<double&(Model&)> of, Bound bound) {
  return {std::move(pointer), std::move(of), bound};
}

class CollectiveFitter {
 public:
  CollectiveFitter(const std::vector<MeasuredPoint>& points, const CollectiveSpec& base,
                   const ClusterSpec& cluster)
      : base_{cluster, base, 0}, model_(base_) {
    for (const MeasuredPoint& p : points)
      if (p.family == Family::kCollective && !p.shared()) m_.points.push_back(p);
    check();
    gpu_ = at(cluster.node.gpu.architecture);
  }

  CollectiveCalibration run() {
    CollectiveCalibration c;
    c.architecture = gpu_;
    c.what = what();
    const auto one_node = [](const MeasuredPoint& p) { return p.nodes == 1; };
    const auto to_all = [](const MeasuredPoint& p) {
      return p.collective == Collective::kAllToAll;
    };
    const auto sent = [](const MeasuredPoint& p) { return p.collective == Collective::kSendRecv; };
    step(c, local_constants(),
         [&](const MeasuredPoint& p) { return one_node(p) && !to_all(p) && !sent(p); });
    step(c, network_constants(),
         [&](const MeasuredPoint& p) { return !one_node(p) && !to_all(p); });
    step(c, direct_constants(),
         [&](const MeasuredPoint& p) { return to_all(p) || (sent(p) && one_node(p)); });
    errors(c);
    c.spec = with_call(model_);
    return c;
  }

 private:
  void check() const {
    if (m_.points.empty())
      throw Error(ExitCode::kBadInput, "no collective was measured: there is nothing to fit");
    for (const MeasuredPoint& p : m_.points)
      if (p.ranks % p.nodes != 0 || p.ranks / p.nodes > base_.cluster.node.gpus)
        throw Error(ExitCode::kBadInput,
                    fmt::format("{} ranks on {} nodes do not fit nodes of {} GPUs ({})", p.ranks,
                                p.nodes, base_.cluster.node.gpus, base_.cluster.node.name));
  }

  std::string what() const {
    int64_t ranks = 0, nodes = 0;
    for (const MeasuredPoint& p : m_.points)
      ranks = std::max(ranks, p.ranks), nodes = std::max(nodes, p.nodes);
    return fmt::format("{} collectives of up to {} ranks on {} node{}; links of {}\n",
                       m_.points.size(), ranks, nodes, nodes > 1 ? "s" : "",
                       base_.cluster.node.name);
  }

  std::vector<FreeConstant<Model>> local_constants() const {
    const std::size_t g = gpu_;
    std::vector<FreeConstant<Model>> all;
    const double line = base_.cluster.node.nvlink_GBps.value;
    const bool pcie = base_.cluster.node.links == GpuLinks::kPcie;
    all.push_back(
        constant(pcie ? "/cluster/node/pcie_effective_GBps" : "/cluster/node/nvlink_effective_GBps",
                 [](Model& m) -> double& { return m.cluster.node.nvlink_effective_GBps.value; },
                 {0.1 * line, line, false}));
    all.push_back(constant("/stack/collectives/ring_local_steps",
                           [](Model& m) -> double& { return m.spec.ring_local_steps; },
                           {0, 2, false}));
    all.push_back(
        constant("call_us", [](Model& m) -> double& { return m.call_us; }, {-8, 60, false}));
    if (base_.cluster.node.links == GpuLinks::kNvswitch && base_.spec.nvls_efficiency[g] > 0)
      all.push_back(constant(
          fmt::format("/stack/collectives/nvls_efficiency/{}", kGpuArchitectureNames[g]),
          [g](Model& m) -> double& { return m.spec.nvls_efficiency[g]; }, {0.2, 1, false}));
    return all;
  }

  std::vector<FreeConstant<Model>> network_constants() const {
    const double line = base_.cluster.node.nic_GBps.value;
    return {
        constant("/cluster/nic_effective_GBps",
                 [](Model& m) -> double& { return m.cluster.nic_effective_GBps.value; },
                 {0.05 * line, line, false}),
        constant("/cluster/latency_us",
                 [](Model& m) -> double& { return m.cluster.latency_us.value; }, {0, 200, true})};
  }

  std::vector<FreeConstant<Model>> direct_constants() const {
    const std::size_t g = gpu_;
    return {
        constant(fmt::format("/stack/collectives/p2p_efficiency/{}", kGpuArchitectureNames[g]),
                 [g](Model& m) -> double& { return m.spec.p2p_efficiency[g]; }, {0.1, 1, false}),
        constant("/stack/collectives/p2p_latency_us",
                 [](Model& m) -> double& { return m.spec.p2p_latency_us; }, {0, 200, true})};
  }

  template <class Takes>
  void step(CollectiveCalibration& c, const std::vector<FreeConstant<Model>>& constants,
            Takes takes) {
    Indices of_step, fitted;
    for (std::size_t i = 0; i < m_.points.size(); ++i)
      if (takes(m_.points[i])) of_step.push_back(i);
    if (of_step.empty()) return;
    const std::vector<bool> held = held_back(m_, of_step);
    for (std::size_t i = 0; i < of_step.size(); ++i)
      (held[i] ? held_ : fitted).push_back(of_step[i]);
    const auto predict = [&](const Model& m, std::size_t i) {
      return predicted_us(m, m_.points[i]);
    };
    const auto measured = [&](std::size_t i) { return m_.points[i].median_us(); };
    const std::vector<MeasuredConstant> found =
        ConstantFit(constants, fitted, predict, measured).run(model_, base_);
    c.constants.insert(c.constants.end(), found.begin(), found.end());
  }

  void errors(CollectiveCalibration& c) const {
    for (int k = 0; k < kCollectives; ++k) {
      ClassFit f;
      std::vector<double> relative;
      for (std::size_t i = 0; i < m_.points.size(); ++i) {
        const MeasuredPoint& p = m_.points[i];
        if (at(p.collective) != static_cast<std::size_t>(k)) continue;
        const bool held = std::find(held_.begin(), held_.end(), i) != held_.end();
        f.points.push_back({i, predicted_us(model_, p), predicted_us(base_, p), held, false});
        relative.push_back(f.points.back().error(p.median_us()));
      }
      if (f.points.empty()) continue;
      c.errors.push_back({std::string(kCollectiveNames[k]), summarise(f, m_, Part::kAll, true),
                          summarise(f, m_, Part::kFitted), summarise(f, m_, Part::kHeldOut)});
      for (const std::size_t i :
           outliers(relative, kCollectiveOutlierSigmas, kCollectiveOutlierFloor)) {
        if (std::abs(relative[i]) < kCollectiveOutlierFloor) continue;
        const MeasuredPoint& p = m_.points[f.points[i].point];
        c.outliers.push_back(fmt::format("{} of {}, {:.1f} us, predicted {:.1f}", p.kernel,
                                         p.shape_text(), p.median_us(), f.points[i].predicted_us));
      }
    }
  }

  Measured m_;
  Model base_, model_;
  Indices held_;
  std::size_t gpu_ = 0;
};

std::string stem(const std::string& program) {
  const std::size_t slash = program.rfind('/');
  std::string name = slash == std::string::npos ? program : program.substr(slash + 1);
  const std::size_t end = name.find("_perf");
  return end == std::string::npos ? name : name.substr(0, end);
}

}  // namespace

std::vector<MeasuredPoint> collective_points(const NcclTestRun& run, const std::string& file) {
  // Names of nccl-tests: alltoall_perf, sendrecv_perf.
  const std::string name = stem(run.program);
  const std::string ours = name == "alltoall"   ? "all_to_all"
                           : name == "sendrecv" ? "send_recv"
                                                : name;
  const auto* known = std::find(std::begin(kCollectiveNames), std::end(kCollectiveNames), ours);
  if (known == std::end(kCollectiveNames))
    throw InputError({{file, run.program.empty()
                                 ? std::string("does not say which program of nccl-tests printed "
                                               "it (\"# Collective test starting: ...\")")
                                 : fmt::format("{} has no counterpart; expected all_reduce_perf, "
                                               "reduce_scatter_perf, all_gather_perf, "
                                               "alltoall_perf or sendrecv_perf",
                                               run.program)}});
  if (run.ranks < 2) throw InputError({{file, "does not list two or more ranks (\"# Rank ...\")"}});
  std::vector<MeasuredPoint> points;
  for (const NcclTestPoint& p : run.points) {
    MeasuredPoint m;
    m.family = Family::kCollective;
    m.collective = static_cast<Collective>(known - std::begin(kCollectiveNames));
    m.kernel = ours;
    m.ranks = run.ranks, m.nodes = std::max<int64_t>(1, run.nodes);
    m.bytes = p.size;
    m.us = {p.time_us};
    points.push_back(m);
  }
  return points;
}

CollectiveCalibration calibrate_collectives(const std::vector<MeasuredPoint>& points,
                                            const CollectiveSpec& base,
                                            const ClusterSpec& cluster) {
  return CollectiveFitter(points, base, cluster).run();
}

}  // namespace orrery
