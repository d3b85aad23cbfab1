// How the command line measures a machine for `orrery calibrate`.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>

namespace orrery {

// The members "seconds", "device", "software", "reference" and "points" of a measured file
// (sim/calibrate/measured.h describes them), of the process's first GPU and, where there are
// several, of NCCL between all. Takes one to four minutes. `progress(done, total)`: of points.
// Throws ExitCode::kUnavailable without a GPU.
nlohmann::ordered_json measure_calibration(
    const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace orrery
