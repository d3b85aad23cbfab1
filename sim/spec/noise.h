// What makes the ranks of a plan unequal: the experiment's "noise" object. Everything is drawn from
// hashes of a seed and of indices, so that a run repeats bit for bit.
//
//   "noise": {
//     "seed": 1,
//     "simulated_ranks": 8,                      of each pipeline position, see below
//     "expert_load": {"distribution": "zipf", "exponent": 0.3},
//     "op_jitter": 0.02,
//     "slow_ranks": [{"rank": 5, "compute": 1.2}],
//     "slow_nodes": [{"node": 3, "compute": 1.05, "network": 2}]
//   }
//
// Or the name of a file with such an object, for instance one with a recorded histogram.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "sim/base/json_reader.h"

namespace orrery {

// How popular the routed experts of a layer are.
enum class ExpertDistribution : uint8_t {
  kUniform,
  kZipf,       // the k-th most popular expert gets tokens in proportion to k^-exponent
  kHistogram,  // "tokens": how many each expert got, in any order
};
extern const std::string_view kExpertDistributionNames[3];

struct NoiseSpec {
  // Durations are multiplied; 1 leaves them alone.
  struct Slow {
    int64_t index = 0;  // global rank, or node
    double compute = 1;
    double network = 1;  // of every transfer and collective that the rank takes part in
  };

  uint64_t seed = 1;
  // The ranks of one pipeline position (its data-parallel replicas) are all different now; this
  // many of them are simulated, in lock step through their collectives as the real ones. Of an
  // expert group the rank with the highest load is always one of them.
  int64_t simulated_ranks = 8;
  bool has_expert_load = false;
  ExpertDistribution distribution = ExpertDistribution::kUniform;
  double exponent = 0;          // kZipf
  std::vector<int64_t> tokens;  // kHistogram
  double op_jitter = 0;         // standard deviation over mean of each compute op's duration
  std::vector<Slow> slow_ranks;
  std::vector<Slow> slow_nodes;

  bool any() const {
    return has_expert_load || op_jitter > 0 || !slow_ranks.empty() || !slow_nodes.empty();
  }
};

NoiseSpec read_noise(json::Reader r);

}  // namespace orrery
