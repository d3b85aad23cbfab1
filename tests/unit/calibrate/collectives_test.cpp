#include "sim/calibrate/collectives.h"

#include <cmath>
#include <filesystem>

#include "sim/calibrate/gpu_profile.h"
#include "sim/net/fabric.h"
#include "sim/spec/profile_file.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/net/nccl.h"

using namespace orrery;
using namespace orrery::testing;

namespace {

const std::filesystem::path kProfileFolder =
    std::filesystem::path(kSourceDir) / "hardware_profiles";

// 8 GPUs of one node, all collectives, 1 KiB to 1 GiB.
std::vector<MeasuredPoint> points_of(const ClusterSpec& cluster, const CollectiveSpec& spec) {
  std::vector<MeasuredPoint> points;
  const std::vector<int64_t> ranks{0, 1, 2, 3, 4, 5, 6, 7};
  for (int c = 0; c < kCollectives; ++c)
    for (int power = 10; power <= 30; power += 2) {
      MeasuredPoint p;
      p.family = Family::kCollective;
      p.collective = static_cast<Collective>(c);
      p.kernel = kCollectiveNames[c];
      p.ranks = 8;
      p.bytes = Bytes(int64_t{1} << power);
      const GroupLinks links = group_links(cluster, ranks, TrafficPattern::kRing, nullptr);
      p.us = {1e6 * collective_cost(spec, p.collective, links, p.bytes).seconds()};
      points.push_back(p);
    }
  return points;
}

double value_of(const CollectiveCalibration& c, const std::string& pointer) {
  for (const MeasuredConstant& k : c.constants)
    if (k.pointer == pointer) return k.measured ? k.value : -1;
  return -2;
}

bool within(double a, double b, double part) { return std::abs(a / b - 1) < part; }

}  // namespace

TEST_CASE("Constants of collectives are recovered", "[calibrate]") {
  const ClusterSpec base = load_cluster(kProfileFolder, "cluster/hgx_h100");
  ClusterSpec truth = base;
  CollectiveSpec spec = nccl();
  const auto hopper = static_cast<std::size_t>(GpuArchitecture::kHopper);
  truth.node.nvlink_effective_GBps.value = 330;
  spec.ring_local_steps = 0.6;
  spec.nvls_efficiency[hopper] = 0.78;
  spec.p2p_efficiency[hopper] = 0.8;
  spec.p2p_latency_us = 31;
  for (auto& protocols : spec.base_latency_us)
    for (double& us : protocols) us += 5;
  const CollectiveCalibration c = calibrate_collectives(points_of(truth, spec), nccl(), base);
  CHECK(within(value_of(c, "/cluster/node/nvlink_effective_GBps"), 330, 0.03));
  CHECK(within(value_of(c, "/stack/collectives/nvls_efficiency/hopper"), 0.78, 0.03));
  CHECK(within(value_of(c, "/stack/collectives/p2p_efficiency/hopper"), 0.8, 0.03));
  CHECK(within(value_of(c, "/stack/collectives/p2p_latency_us"), 31, 0.02));
  CHECK(within(value_of(c, "call_us"), 5, 0.1));
  REQUIRE(c.errors.size() == 5);
  for (const CollectiveErrors& e : c.errors) {
    CHECK(e.fitted.median < 0.02);
    CHECK(e.held_out.median <= e.base.largest);
  }

  // Both profiles can be read in the place of what they extend.
  const TemporaryDirectory folder;
  write(folder.file("c.json"), cluster_profile(c, "cluster/hgx_h100", "", "x", "2026").dump());
  const json::Node cluster_file = load_profile(folder.file("c.json"), kProfileFolder);
  Diagnostics d;
  const ClusterSpec measured = read_cluster(json::Reader(cluster_file, "", d));
  CHECK(within(measured.node.nvlink_effective_GBps.value, 330, 0.03));
  CHECK(measured.node.nvlink_effective_GBps.source == Source::kMeasured);
  write(folder.file("n.json"), collectives_profile(c, "collectives/nccl_2_28", "x", "2026").dump());
  const json::Node library_file = load_profile(folder.file("n.json"), kProfileFolder);
  const CollectiveSpec library = read_collectives(json::Reader(library_file, "", d));
  d.throw_if_any();
  CHECK(within(library.p2p_latency_us, 31, 0.02));
  CHECK(library.p2p_efficiency[0] == nccl().p2p_efficiency[0]);
  const auto ring = static_cast<std::size_t>(Algorithm::kRing);
  CHECK(library.base_latency_us[ring][0] > nccl().base_latency_us[ring][0] + 4);
}

TEST_CASE("nccl-tests output gives points of its collective", "[calibrate]") {
  NcclTestRun run;
  run.program = "./build/alltoall_perf";
  run.ranks = 16, run.nodes = 2;
  run.points.push_back({Bytes(1024), "float", 20, 0.1, 21, 0.1});
  const std::vector<MeasuredPoint> points = collective_points(run, "x.txt");
  REQUIRE(points.size() == 1);
  CHECK(points[0].collective == Collective::kAllToAll);
  CHECK(points[0].nodes == 2);
  CHECK(points[0].median_us() == 20);
  run.program = "broadcast_perf";
  CHECK(failure_of([&] { collective_points(run, "x.txt"); }).message.find("no counterpart") !=
        std::string::npos);
  run.program = "";
  CHECK(failure_of([&] { collective_points(run, "x.txt"); }).message.find("which program") !=
        std::string::npos);
}

TEST_CASE("Groups that do not fit the cluster's nodes are refused", "[calibrate]") {
  const ClusterSpec base = load_cluster(kProfileFolder, "cluster/hgx_h100");
  std::vector<MeasuredPoint> points = points_of(base, nccl());
  for (MeasuredPoint& p : points) p.ranks = 16;
  CHECK(failure_of([&] { calibrate_collectives(points, nccl(), base); }).code ==
        ExitCode::kBadInput);
  CHECK(failure_of([&] { calibrate_collectives({}, nccl(), base); }).code == ExitCode::kBadInput);
}
