// The derived GPU profile as a file, and the existing profile that it extends.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "sim/calibrate/calibrate.h"
#include "sim/spec/cluster.h"

namespace orrery {

// Reads and validates "gpu/h200_sxm5" of a folder of profiles. Throws InputError.
GpuSpec load_gpu(const std::filesystem::path& profiles, const std::string& name);

// The profile ("gpu/h200_sxm5") nearest to a device: of those whose name has the first word with a
// number in it of the driver's name for the device ("NVIDIA H200", "NVIDIA A100-SXM4-80GB"), or of
// all if none has, the nearest in further such words, SMs and memory. Profiles that a calibration
// wrote
// ("*_measured") do not count. Throws Error (kNoInput) when there is no profile.
std::string nearest_gpu_profile(const std::filesystem::path& profiles, const std::string& device,
                                int64_t multiprocessors, double memory_GiB);

// Likewise "cluster/hgx_h200", with its node.
ClusterSpec load_cluster(const std::filesystem::path& profiles, const std::string& name);

// The cluster with the fewest nodes whose GPUs match the device's name and whose nodes have at
// least so many; the nearest in that number. Throws Error (kNoInput) when there is none.
std::string nearest_cluster_profile(const std::filesystem::path& profiles,
                                    const std::string& device, int64_t gpus_per_node);

// A number of a profile with "source": "measured".
nlohmann::ordered_json measured_number(double value, const std::string& reference,
                                       const std::string& date);

// What run and which points the constants of a class come from, and how well they fit.
std::string class_reference(const ClassFit& f, const Measured& m, const std::string& run);

// {"extends": base, "name": .., every measured constant with "source": "measured" and a reference
// that names the run and the points, "calibration" with the errors at the points held back}. `run`:
// what the reference calls the measured file.
nlohmann::ordered_json gpu_profile(const Calibration& c, const Measured& m, const std::string& base,
                                   const std::string& run);

}  // namespace orrery
