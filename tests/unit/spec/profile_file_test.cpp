#include "sim/spec/profile_file.h"

#include "sim/spec/cluster.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

using namespace orrery;
namespace fs = std::filesystem;

namespace {

// A folder with the profiles of a family.
struct Profiles {
  testing::TemporaryDirectory dir;
  Profiles() {
    fs::create_directories(fs::path(dir.path()) / "gpu");
    add("gpu/base", R"({"name": "base", "watts": {"value": 700, "source": "datasheet",
                        "reference": "sheet", "date": "2023"},
                        "gemm": {"efficiency": 1, "overhead": 2}, "fp8": {"peak": 8}})");
  }
  void add(const std::string& name, const std::string& text) {
    testing::write(dir.file(name + ".json"), text);
  }
  json::Node load(const std::string& name) const {
    return load_profile(dir.file(name + ".json"), dir.path());
  }
  std::string error(const std::string& name) const {
    return testing::failure_of([&] { load(name); }).message;
  }
};

}  // namespace

TEST_CASE("A profile that extends another keeps what it does not state", "[spec]") {
  Profiles p;
  p.add("gpu/child", R"({"extends": "gpu/base", "name": "child", "gemm": {"overhead": 3}})");
  const json::Node n = p.load("gpu/child");
  CHECK(n.find("name")->string == "child");
  CHECK(n.find("extends") == nullptr);
  CHECK(n.find("gemm")->find("efficiency")->integer == 1);
  CHECK(n.find("gemm")->find("overhead")->integer == 3);
  // Each value is where it was written.
  CHECK(contains(n.find("gemm")->find("efficiency")->where(""), "base.json"));
  CHECK(contains(n.find("gemm")->find("overhead")->where(""), "child.json"));
}

TEST_CASE("A number with a source is replaced whole", "[spec]") {
  Profiles p;
  p.add("gpu/child", R"({"extends": "gpu/base",
                         "watts": {"value": 500, "source": "measured", "reference": "meter"}})");
  const json::Node n = p.load("gpu/child");
  CHECK(n.find("watts")->find("reference")->string == "meter");
  CHECK(n.find("watts")->find("date") == nullptr);  // not the date of the other value
}

TEST_CASE("A profile drops what does not hold for it", "[spec]") {
  Profiles p;
  p.add("gpu/child", R"({"extends": "gpu/base", "drop": ["fp8"]})");
  CHECK(p.load("gpu/child").find("fp8") == nullptr);
  p.add("gpu/wrong", R"({"extends": "gpu/base", "drop": ["fp9"]})");
  CHECK(contains(p.error("gpu/wrong"), "\"fp9\" is no member of what the object extends"));
}

TEST_CASE("Profiles that extend themselves or nothing are refused", "[spec]") {
  Profiles p;
  p.add("gpu/a", R"({"extends": "gpu/b"})");
  p.add("gpu/b", R"({"extends": "gpu/a"})");
  CHECK(contains(p.error("gpu/a"), "extends itself"));
  p.add("gpu/lost", R"({"extends": "gpu/bass"})");
  CHECK(contains(p.error("gpu/lost"), "did you mean \"gpu/base\"?"));
}

TEST_CASE("A cluster takes its node and GPU from files, and from what it extends", "[spec]") {
  Profiles p;
  p.add("gpu/other", R"({"name": "other"})");
  p.add("node", R"({"name": "node", "gpus": 8, "gpu": "gpu/base"})");
  p.add("cluster", R"({"name": "cluster", "nodes": 1, "node": "node"})");
  json::Node n = json::parse_json(
      R"({"cluster": {"extends": "cluster", "nodes": 16, "node": {"gpus": 4}}})", "experiment");
  resolve_profile(n, "cluster", p.dir.path(), p.dir.path());
  const json::Node* cluster = n.find("cluster");
  CHECK(cluster->find("nodes")->integer == 16);
  CHECK(cluster->find("node")->find("gpus")->integer == 4);
  CHECK(cluster->find("node")->find("name")->string == "node");
  CHECK(cluster->find("node")->find("gpu")->find("name")->string == "base");
  // Another GPU takes the place of the first one; nothing of that is left.
  n = json::parse_json(R"({"cluster": {"extends": "cluster", "node": {"gpu": "gpu/other"}}})", "e");
  resolve_profile(n, "cluster", p.dir.path(), p.dir.path());
  const json::Node* gpu = n.find("cluster")->find("node")->find("gpu");
  CHECK(gpu->find("name")->string == "other");
  CHECK(gpu->find("gemm") == nullptr);
}
