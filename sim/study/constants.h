// The constants of hardware_profiles/ as one experiment reads them, for who moves them.
#pragma once

#include <string>
#include <vector>

#include "sim/base/json_reader.h"

namespace orrery {

// A constant is an object with a "source" in a file of the profiles. Its name is that of the file
// that says it, also where another one "extends" that: "gpu/h100_sxm5: gemm_bf16/tile_overhead_us".
struct ProfileConstant {
  json::Node* node;  // inside the root that it was found in
  std::string name, source;
};

// Those of the cluster, its node and GPU, the stack and its collectives in an experiment that was
// resolved (resolve_experiment); `profiles` is the folder hardware_profiles/.
std::vector<ProfileConstant> profile_constants(json::Node& root, const std::string& profiles);

// Multiplies every number of the constant: one that is an object of several moves as a whole.
void scale(json::Node& constant, double factor);

}  // namespace orrery
