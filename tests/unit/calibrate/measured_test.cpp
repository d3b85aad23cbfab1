#include "sim/calibrate/measured.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "sim/calibrate/gpu_profile.h"
#include "sim/calibrate/summary.h"
#include "sim/spec/profile_file.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/calibrate/synthetic.h"

using namespace orrery;
using namespace orrery::testing;

namespace {

const std::filesystem::path kProfiles = std::filesystem::path(kSourceDir) / "hardware_profiles";

std::string file_with(const std::string& points) {
  return R"({"schema_version": 2, "date": "2026-11-28",
    "device": {"gpu": "NVIDIA H200", "multiprocessors": 132, "memory_GiB": 139.8,
               "highest_sm_clock_MHz": 1980, "highest_memory_clock_MHz": 3201},
    "software": {"cuda_of_driver": "13.0", "cuda": "13.0", "cublaslt": "130100"},
    "points": [)" +
         points + "]}";
}

Failure refusal(const std::string& points) {
  return failure_of([&] { read_measured(json::parse_json(file_with(points), "m.json")); });
}

}  // namespace

TEST_CASE("A measured file is read point by point", "[calibrate]") {
  const Measured m = read_measured(json::parse_json(
      file_with(R"({"family": "gemm_fp8_wgrad", "kernel": "group_wgrad", "m": 4096, "n": 7168,
                    "k": 8192, "groups": 4, "grouped": "k", "us": [12, 10, 11]},
                   {"family": "memory_bound", "kernel": "rope", "pattern": "strided",
                    "bytes": 1000, "us": [3.5], "beside_sms": 20},
                   {"family": "collective", "kernel": "all_gather", "ranks": 2, "bytes": 8,
                    "us": [9]})"),
      "m.json"));
  CHECK(m.gpu == "NVIDIA H200");
  REQUIRE(m.points.size() == 3);
  CHECK(m.points[0].median_us() == 11);
  CHECK(m.points[0].gemm.kernel == GemmKernel::kFp8Wgrad);
  CHECK(m.points[0].gemm.output == GemmOutput::kFp32Accumulate);
  CHECK(m.points[0].gemm.grouped == GroupedDim::kK);
  CHECK(m.points[0].shape_text() == "4096 x 7168 x 8192, 4 groups");
  CHECK(m.points[1].pattern == AccessPattern::kStrided);
  CHECK(m.points[1].shared());
  CHECK(m.points[2].collective == Collective::kAllGather);
}

TEST_CASE("Every output of a product is read by its name", "[calibrate]") {
  for (int i = 0; i < kGemmOutputs; ++i) {
    const std::string point = fmt::format(
        R"({{"family": "gemm_bf16", "kernel": "x", "m": 1, "n": 1, "k": 1, "us": [1],
            "output": "{}"}})",
        kGemmOutputNames[i]);
    const Measured m = read_measured(json::parse_json(file_with(point), "m.json"));
    CHECK(m.points.at(0).gemm.output == static_cast<GemmOutput>(i));
  }
  CHECK(kGemmOutputNames[static_cast<int>(GemmOutput::kFp32)] == "fp32");
  CHECK(kGemmOutputNames[static_cast<int>(GemmOutput::kFp32Accumulate)] == "fp32_accumulate");
}

TEST_CASE("A broken measured file is refused with the place", "[calibrate]") {
  CHECK(refusal("").message.find("no point was measured") != std::string::npos);
  const Failure family = refusal(R"({"family": "gemm", "kernel": "x", "us": [1]})");
  CHECK(family.code == ExitCode::kBadInput);
  CHECK(family.message.find("/points/0/family") != std::string::npos);
  CHECK(refusal(R"({"family": "l2_copy", "kernel": "x", "bytes": 8, "us": [1, 0]})")
            .message.find("between 0 and 1e9") != std::string::npos);
  CHECK(refusal(R"({"family": "l2_copy", "kernel": "x", "bytes": 8, "us": []})")
            .message.find("one for each repeat") != std::string::npos);
}

TEST_CASE("The nearest profile has the device's model, then its memory", "[calibrate]") {
  CHECK(nearest_gpu_profile(kProfiles, "NVIDIA H200", 132, 139.8) == "gpu/h200_sxm5");
  CHECK(nearest_gpu_profile(kProfiles, "NVIDIA H100 80GB HBM3", 132, 79.1) == "gpu/h100_sxm5");
  CHECK(nearest_gpu_profile(kProfiles, "NVIDIA A100-SXM4-40GB", 108, 39.4) == "gpu/a100_sxm4_40gb");
  CHECK(nearest_gpu_profile(kProfiles, "NVIDIA A100-SXM4-80GB", 108, 79.2) == "gpu/a100_sxm4_80gb");
  CHECK(nearest_gpu_profile(kProfiles, "NVIDIA X1", 148, 180) == "gpu/b200");
  CHECK(nearest_cluster_profile(kProfiles, "NVIDIA H200", 8) == "cluster/hgx_h200");
  CHECK(nearest_cluster_profile(kProfiles, "NVIDIA H200", 1) == "cluster/one_h200");
  CHECK(failure_of([] { nearest_cluster_profile(kProfiles, "NVIDIA X1", 8); }).code ==
        ExitCode::kNoInput);
}

TEST_CASE("The derived profile reads as a GPU with the measured constants", "[calibrate]") {
  const GpuSpec base = load_gpu(kProfiles, "gpu/h200_sxm5");
  Measured m = synthetic(known_gpu());
  m.gpu = "NVIDIA H200", m.memory_GiB = 139.87, m.power_limit_W = 600;
  const Calibration c = calibrate_gpu(m, base);
  const TemporaryDirectory folder;
  const std::string file = folder.file("h200_measured.json");
  write(file, gpu_profile(c, m, "gpu/h200_sxm5", "measured/x.json").dump());

  const json::Node n = load_profile(file, kProfiles);
  Diagnostics d;
  const GpuSpec g = read_gpu(json::Reader(n, "", d));
  d.throw_if_any();
  CHECK(g.gemm_bf16.mainloop_efficiency.value == c.gpu.gemm_bf16.mainloop_efficiency.value);
  CHECK(g.gemm_bf16.mainloop_efficiency.source == Source::kMeasured);
  CHECK(g.gemm_bf16.mainloop_efficiency.reference.find("measured/x.json") != std::string::npos);
  CHECK(g.gemm_bf16.mainloop_efficiency.reference.find("held out") != std::string::npos);
  CHECK(g.gemm_bf16.mainloop_efficiency.date == "2026-11-28");
  CHECK(g.hbm_capacity_GiB.value == 139.8);
  CHECK(g.power.limit_W.value == 600);
  CHECK(g.launch_gap_us.value == c.gpu.launch_gap_us.value);
  // The errors at the points held back, for the intervals of predictions.
  CHECK(g.calibration.find("measured/x.json") != std::string::npos);
  for (const ClassFit& f : c.classes) {
    const ClassErrors held = summarise(f, m, Part::kHeldOut);
    const auto* family =
        std::find(std::begin(kRateFamilyNames), std::end(kRateFamilyNames), f.name);
    if (family == std::end(kRateFamilyNames)) continue;
    const HeldOutErrors& e = g.held_out[family - std::begin(kRateFamilyNames)];
    CHECK(e.points == static_cast<double>(held.count));
    CHECK(e.rms_ln == Approx(held.rms_ln).epsilon(1e-3));
  }
  CHECK(g.held_out[kFirstGemmFamily].points > 0);
  CHECK(base.calibration.empty());
  // Not measured: the base's, with its source.
  CHECK(g.gemm_fp8.mainloop_efficiency.value == base.gemm_fp8.mainloop_efficiency.value);
  CHECK(g.gemm_fp8.mainloop_efficiency.source == Source::kFitted);
  CHECK(g.bf16_dense_TFLOPS.source == Source::kDatasheet);
}
