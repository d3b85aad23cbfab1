// How the command line reaches the benchmarks of the kernels.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace orrery {

// Families of kernels that can be asked for.
const std::vector<std::string>& kernel_bench_families();

// Measures the families on the process's GPU. {schema_version, machine, ceilings, kernels:
// [{kernel, shape, us, TFLOPS, GBps, bound, share_of_ceiling, baseline, baseline_us,
// of_baseline}]}, TFLOPS and baseline where there is one. Throws ExitCode::kUnavailable without a
// GPU.
nlohmann::ordered_json bench_kernels(const std::vector<std::string>& families);

}  // namespace orrery
