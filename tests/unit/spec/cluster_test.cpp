#include "sim/spec/cluster.h"

#include "sim/spec/profile_file.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

std::string refusal(const std::string& override_text) {
  const testing::Failure f = testing::failure_of([&] { deepseek({override_text}); });
  CHECK(f.code == ExitCode::kBadInput);
  return f.message;
}

}  // namespace

TEST_CASE("The H800 cluster as its sources give it", "[spec]") {
  const ClusterSpec c = deepseek().cluster;
  CHECK(c.gpus() == 2048);
  CHECK(c.nvlink_per_gpu().count() == Approx(160e9));
  CHECK(c.network_per_gpu().count() == Approx(47e9));
  CHECK(c.node.nic_GBps.source == Source::kDatasheet);
  CHECK_FALSE(c.node.nic_GBps.reference.empty());
}

TEST_CASE("GPUs that share adapters share their bandwidth", "[spec]") {
  ClusterSpec c = deepseek().cluster;
  c.node.nics = 4;
  CHECK(c.network_per_gpu().count() == Approx(23.5e9));
}

TEST_CASE("A node's NVLink total is refused with the share of one GPU", "[spec]") {
  const std::string e = refusal("/cluster/node/nvlink_GBps=1600");
  CHECK(contains(e, "/cluster/node/nvlink_GBps"));
  CHECK(contains(e, "the node's total: did you mean 200?"));
}

TEST_CASE("A share given for the whole and a negative bandwidth are refused", "[spec]") {
  CHECK(contains(refusal("/cluster/node/nvlink_GBps=25"), "a share of one GPU's"));
  CHECK(contains(refusal("/cluster/node/nic_GBps=6.25"), "a share of one adapter's"));
  CHECK(contains(refusal("/cluster/node/nic_GBps=-50"), "/cluster/node/nic_GBps"));
}

TEST_CASE("Sockets are slower than adapters and have a range of their own", "[spec]") {
  const auto refusal_of = [](const std::string& kind) {
    return testing::failure_of([&] {
      const std::string root = kSourceDir;
      const std::string profiles = root + "/hardware_profiles";
      json::Node n = load_profile(profiles + "/node/h200_shared_4.json", profiles);
      n.find("network")->string = kind;
      Diagnostics d;
      read_node(json::Reader(n, "/node", d));
      d.throw_if_any();
    });
  };
  CHECK(refusal_of("socket").message.empty());
  CHECK(contains(refusal_of("rdma").message, "expected 10 to 105 GB/s"));
  CHECK(contains(refusal_of("sockets").message, "did you mean \"socket\"?"));
}

TEST_CASE("Ranks that share GPUs fill them", "[spec]") {
  const testing::Failure f = testing::failure_of([] {
    const std::string root = kSourceDir;
    load_study(root + "/experiments/tiny_moe_4_ranks", {"/cluster/nodes=3"}, root);
  });
  CHECK(f.code == ExitCode::kBadInput);
  CHECK(contains(f.message, "3 ranks do not fill GPUs that 4 ranks share"));
}

TEST_CASE("Nothing transfers faster than its line", "[spec]") {
  CHECK(contains(refusal("/cluster/nic_effective_GBps=51"), "exceeds the adapter's line rate"));
  CHECK(contains(refusal("/cluster/node/nvlink_effective_GBps=201"), "exceeds the line rate"));
}

TEST_CASE("Efficiencies are fractions, and every access pattern has one", "[spec]") {
  CHECK(contains(refusal("/cluster/node/gpu/hbm_efficiency/cast=74"),
                 "/cluster/node/gpu/hbm_efficiency/cast"));
  const GpuSpec g = deepseek().cluster.node.gpu;
  for (int i = 0; i < kAccessPatterns; ++i) {
    CAPTURE(kAccessPatternNames[i]);
    CHECK(g.hbm_efficiency[i].value > 0);
    CHECK(g.hbm_efficiency[i].value <= 1);
  }
}

TEST_CASE("A file that an experiment names but nobody has exits with 66 and a suggestion",
          "[spec]") {
  const testing::TemporaryDirectory dir;
  const auto load = [&](const std::string& cluster) {
    testing::write(dir.file("experiment.json"),
                   R"({"name": "x", "model": {}, "cluster": ")" + cluster + R"("})");
    return testing::failure_of([&] { load_study(dir.path(), {}, kSourceDir); });
  };
  const testing::Failure f = load("cluster/deepseek_2048_h80");
  CHECK(f.code == ExitCode::kNoInput);
  CHECK(contains(f.message, "did you mean \"cluster/deepseek_2048_h800\"?"));
  CHECK(load("nowhere/at_all").code == ExitCode::kNoInput);
}

TEST_CASE("A number of a profile without its source is refused", "[spec]") {
  const json::Node n = json::parse_json(R"({"us": 3.7})", "c.json");
  Diagnostics d;
  json::Reader r(n, "", d);
  read_sourced(r, "us", json::kPositive);
  CHECK(contains(error_of([&] { d.throw_if_any(); }), "bare value"));
}
