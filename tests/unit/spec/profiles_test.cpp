// Every file of hardware_profiles/ is read by the reader of its folder and refers to files that
// exist.
#include <filesystem>
#include <map>

#include "sim/spec/cluster.h"
#include "sim/spec/profile_file.h"
#include "sim/spec/residuals.h"
#include "sim/spec/stack.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

using namespace orrery;
namespace fs = std::filesystem;

namespace {

const fs::path kProfiles = fs::path(kSourceDir) / "hardware_profiles";

json::Node load(const fs::path& file) { return load_profile(file, kProfiles); }

template <class F>
void read_with(const fs::path& file, F&& reader) {
  const json::Node n = load(file);
  Diagnostics d;
  reader(json::Reader(n, "", d));
  d.throw_if_any();
}

void read_price(json::Reader r) {
  read_sourced(r, "usd_per_gpu_hour", {0.001, 1000});
  r.string("name");
  r.finish();
}

// Visits every sourced number of a file.
void check_sources(const json::Node& n) {
  if (n.find("value") != nullptr) {
    const json::Node* reference = n.find("reference");
    REQUIRE(reference != nullptr);
    CAPTURE(n.where(""));
    CHECK_FALSE(reference->string.empty());
    return;
  }
  for (const auto& [key, member] : n.members) check_sources(member);
}

}  // namespace

TEST_CASE("Every hardware profile loads, and every number of it says where it comes from",
          "[spec]") {
  std::map<std::string, int> seen;
  for (const auto& entry : fs::recursive_directory_iterator(kProfiles)) {
    if (!entry.is_regular_file()) continue;
    const fs::path file = entry.path();
    const std::string folder = file.parent_path().filename().string();
    CAPTURE(file);
    REQUIRE(file.extension() == ".json");
    ++seen[folder];
    if (folder == "gpu")
      CHECK_NOTHROW(read_with(file, read_gpu));
    else if (folder == "node")
      CHECK_NOTHROW(read_with(file, read_node));
    else if (folder == "cluster")
      CHECK_NOTHROW(read_with(file, read_cluster));
    else if (folder == "stack")
      CHECK_NOTHROW(read_with(file, read_stack));
    else if (folder == "price")
      CHECK_NOTHROW(read_with(file, read_price));
    else if (folder == "collectives")
      CHECK_NOTHROW(read_with(file, read_collectives));
    else if (folder == "residuals")
      CHECK_NOTHROW(read_with(file, read_residuals));
    else if (folder == "measured")  // data of tests: lists of points
      CHECK(json::parse_json_file(file.string()).find("points") != nullptr);
    else if (file.parent_path().parent_path().filename() == "measured")  // orrery bench kernels
      CHECK(!json::parse_json_file(file.string()).members.empty());
    else
      FAIL("no reader for this folder");
    check_sources(json::parse_json_file(file.string()));
  }
  for (const char* folder :
       {"gpu", "node", "cluster", "stack", "collectives", "price", "residuals"})
    CHECK(seen[folder] > 0);
}

TEST_CASE("Ranks that share an H200 have all of its rates in turn and a part of its memory",
          "[spec]") {
  const auto cluster = [](const std::string& name) {
    const json::Node n = load(kProfiles / "cluster" / (name + ".json"));
    Diagnostics d;
    ClusterSpec c = read_cluster(json::Reader(n, "", d));
    d.throw_if_any();
    return c;
  };
  const ClusterSpec one = cluster("one_h200");
  for (const int64_t ranks : {2, 4}) {
    const ClusterSpec shared = cluster("h200_shared_" + std::to_string(ranks));
    CHECK(shared.gpus() == ranks);
    CHECK(shared.physical_gpus() == 1);
    CHECK(shared.node.ranks_per_gpu == ranks);
    CHECK(static_cast<double>(ranks) * shared.node.memory_per_rank_GiB() ==
          one.node.gpu.hbm_capacity_GiB.value);
    CHECK(shared.node.gpu.bf16_dense_TFLOPS.value == one.node.gpu.bf16_dense_TFLOPS.value);
    CHECK(shared.node.network == NetworkKind::kSocket);
  }
}
