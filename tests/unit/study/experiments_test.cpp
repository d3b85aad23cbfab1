// The experiments of the repository.
#include <filesystem>
#include <set>

#include "sim/study/validate.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/deepseek.h"

using namespace orrery;
namespace fs = std::filesystem;

TEST_CASE("Every experiment leaves no shape to defaults, can run and fits", "[study]") {
  const std::string root = kSourceDir;
  int seen = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(root) / "experiments")) {
    if (!fs::exists(entry.path() / "experiment.json")) continue;
    CAPTURE(entry.path());
    ++seen;
    const StudySpec s = load_study(entry.path().string(), {}, root);
    CHECK(s.model.defaulted.empty());
    const Prediction p = predict(s, {});
    CHECK(p.step_time_s > 0);
    const double capacity = s.cluster.node.gpu.hbm_capacity_GiB.value;
    for (const StageMemory& m : p.memory) CHECK(gib(m.memory.peak) <= capacity);
  }
  CHECK(seen >= 3);
}

TEST_CASE("The small experiments have the shapes that their readme gives", "[study]") {
  const std::string root = kSourceDir;
  const ModelSpec moe = load_study(root + "/experiments/tiny_moe", {}, root).model;
  CHECK(moe.attention == AttentionKind::kMla);
  CHECK(moe.layers - moe.dense_layers == 3);
  CHECK(moe.experts == 8);
  CHECK(moe.expert_groups == 4);
  CHECK(moe.shared_experts == 1);
  CHECK(moe.mtp_layers == 1);
  CHECK(moe.router.bias);
  const StudySpec llama = load_study(root + "/experiments/tiny_llama", {}, root);
  CHECK(llama.model.attention == AttentionKind::kGqa);
  CHECK(llama.model.heads == 8);
  CHECK(llama.model.kv_heads == 4);
  CHECK(llama.model.experts == 0);
  CHECK(llama.plan.sequence_length == 128);
  CHECK(llama.training.data.branching == 4);
}

TEST_CASE("Every validation case loads, names its family and has a published figure", "[study]") {
  const std::string root = kSourceDir;
  const fs::path folder = fs::path(root) / "experiments/validation";
  std::set<std::string> families;
  const std::vector<std::string> files = validation_files(folder.string());
  for (const std::string& file : files) {
    CAPTURE(file);
    const StudySpec s = load_study(file, {}, root);
    CHECK(s.name == fs::relative(file, folder).replace_extension().generic_string());
    REQUIRE(s.validation);
    CHECK(s.validation->family == fs::path(file).parent_path().filename());
    families.insert(s.validation->family);
    for (const PublishedValue& v : s.published) CHECK(v.value > 0);
  }
  CHECK(files.size() >= 45);
  CHECK(families.size() >= 10);
}
