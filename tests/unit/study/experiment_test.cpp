#include "sim/study/experiment.h"

#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

// The message of the error that loading with one override gives.
std::string refusal(const std::string& override_text, ExitCode code) {
  try {
    deepseek({override_text});
  } catch (const Error& e) {
    CHECK(e.code() == code);
    return e.what();
  }
  FAIL("accepted " << override_text);
  return "";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("A node's total bandwidth given for one adapter is refused with the fix", "[study]") {
  const std::string e = refusal("/cluster/node/nic_GBps=400", ExitCode::kBadInput);
  CHECK(has(e, "/cluster/node/nic_GBps"));
  CHECK(has(e, "did you mean 50?"));
}

TEST_CASE("A share of the bandwidth given as the whole is refused with the fix", "[study]") {
  CHECK(has(refusal("/cluster/node/nic_GBps=6.25", ExitCode::kBadInput), "did you mean 50?"));
  CHECK(has(refusal("/cluster/node/nvlink_GBps=25", ExitCode::kBadInput), "did you mean 200?"));
}

TEST_CASE("A misspelt key or value names the nearest valid one", "[study]") {
  CHECK(has(refusal("/plan/schedul=1f1b", ExitCode::kBadInput), "did you mean \"schedule\"?"));
  CHECK(has(refusal("/model/hidden_sise=64", ExitCode::kBadInput), "/model/hidden_size"));
  CHECK(has(refusal("/plan/schedule=dualpip", ExitCode::kBadInput), "dualpipe"));
}

TEST_CASE("A plan that cannot run names every field of the rule it breaks", "[study]") {
  const std::string ep = refusal("/plan/expert_parallel=48", ExitCode::kInfeasible);
  CHECK(has(ep, "expert_parallel 48 does not divide data_parallel 128"));
  CHECK(has(ep, "expert_parallel 48 does not divide the model's 256 routed experts"));
  CHECK(has(refusal("/plan/data_parallel=64", ExitCode::kInfeasible), "2048 GPUs"));
  CHECK(has(refusal("/plan/global_batch=15361", ExitCode::kInfeasible), "15361"));
  CHECK(has(
      refusal("/plan/layers_per_stage=[4,4,4,4,4,4,4,4,4,4,4,4,4,4,4,2]", ExitCode::kInfeasible),
      "layers_per_stage sums to 62, but the model has 61"));
}

TEST_CASE("A missing experiment exits with 66", "[study]") {
  try {
    load_study("/nowhere/experiment.json", {}, kSourceDir);
    FAIL("loaded");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kNoInput);
  }
}

TEST_CASE("An override reaches the value and marks it assumed", "[study]") {
  const StudySpec s = deepseek({"/cluster/node/gpu/hbm_bandwidth_GBps=4800"});
  CHECK(s.cluster.node.gpu.hbm_bandwidth_GBps.value == 4800);
  CHECK(s.cluster.node.gpu.hbm_bandwidth_GBps.source == Source::kAssumed);
}

TEST_CASE("An override may add what the experiment leaves out", "[study]") {
  CHECK(deepseek({"/noise/op_jitter=0.02"}).noise.op_jitter == 0.02);
  CHECK(deepseek({R"(/noise={"op_jitter":0.03})"}).noise.op_jitter == 0.03);
  CHECK(deepseek({"/stack/repeats_kv=true"}).stack.repeats_kv);
  CHECK(has(refusal("/noise/op_jiter=0.02", ExitCode::kBadInput), "did you mean \"op_jitter\"?"));
  CHECK(has(refusal("/noise=0.02", ExitCode::kBadInput), "an object"));
}

TEST_CASE("Memory is counted in GiB, bandwidth in GB", "[study]") {
  const GpuSpec g = deepseek().cluster.node.gpu;
  // An 80 GB H800 reports 84.9e9 bytes: 79.1 GiB, not 80 and not 84.9.
  CHECK(static_cast<double>(from_gib(g.hbm_capacity_GiB.value).count()) ==
        Approx(84.9e9).epsilon(2e-3));
  CHECK(from_GBps(g.hbm_bandwidth_GBps.value).count() == Approx(3.352e12).epsilon(1e-3));
}
