// From measured collectives (those of a calibration run, or what nccl-tests printed) to the
// constants of sim/net/collectives/: what the links reach and what a call costs.
//
// Fitted in three steps with collective_cost, the tuner's choices included:
//   on one node: all-reduce, reduce-scatter, all-gather
//     node/nvlink_effective_GBps (or pcie_), ring_local_steps, nvls_efficiency where the node's
//     switch multicasts, and call_us, which is added to base_latency_us of every algorithm
//   between nodes: the same collectives, send and receive
//     nic_effective_GBps, latency_us of the cluster
//   all-to-all, and send and receive on one node: p2p_efficiency, p2p_latency_us
// Loss, held-back points and determination are those of calibrate.h.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/calibrate/calibrate.h"
#include "sim/calibrate/summary.h"
#include "sim/import/nccl_tests.h"
#include "sim/spec/cluster.h"

namespace orrery {

struct CollectiveErrors {
  std::string name;  // "all_reduce", ...
  ClassErrors base, fitted, held_out;
};

struct CollectiveCalibration {
  std::string what;  // "2 ranks on 1 node of HGX H200, 55 points"
  std::vector<MeasuredConstant> constants;
  std::vector<CollectiveErrors> errors;
  std::vector<std::string> outliers;
  std::size_t architecture = 0;
  CollectiveSpec spec;  // with the measured constants
};

// The points of a run of nccl-tests, out of place. Throws InputError when the program or the ranks
// are not known. Programs without a counterpart here (broadcast, ...) are refused.
std::vector<MeasuredPoint> collective_points(const NcclTestRun& run, const std::string& file);

// `cluster`: whose links they are. Other families among the points, and collectives beside other
// kernels, are left out. Throws Error (kBadInput) when no collective is left, or a group does not
// fit the cluster's nodes.
CollectiveCalibration calibrate_collectives(const std::vector<MeasuredPoint>& points,
                                            const CollectiveSpec& base, const ClusterSpec& cluster);

// The measured constants as a profile of collectives, for a stack's "collectives", and as one of a
// cluster: {"extends": base, "name": .., constants}. null where none is measured. `gpu`: a GPU
// profile that the cluster's nodes are to have, or "".
nlohmann::ordered_json collectives_profile(const CollectiveCalibration& c, const std::string& base,
                                           const std::string& run, const std::string& date);
nlohmann::ordered_json cluster_profile(const CollectiveCalibration& c, const std::string& base,
                                       const std::string& gpu, const std::string& run,
                                       const std::string& date);

}  // namespace orrery
