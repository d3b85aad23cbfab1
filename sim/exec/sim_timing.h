// Durations of the ops of an ExecPlan on a cluster with a stack.
//
// Every op has four durations, one per state of what runs beside it on its GPU (`Beside` bits), so
// that the event loop only looks them up and rescales the work left when the state changes:
//   compute     kAllToAll: the communication kernels hold their SMs
//               kSameKind: a second compute kernel; SMs and HBM are halved
//   all-to-all  kCompute: its kernels share the GPU with compute (StackSpec overlapped_fraction)
//               kSameKind: P2P or gradient traffic takes half of the NIC
//   network     kAllToAll or kSameKind: half of the NIC
#pragma once

#include <vector>

#include "sim/graph/exec_plan.h"
#include "sim/graph/stage_builder.h"
#include "sim/spec/cluster.h"

namespace orrery {

constexpr unsigned kBesideOther = 1;  // all-to-all beside compute, compute beside all-to-all
constexpr unsigned kBesideSame = 2;
constexpr int kBesideStates = 4;

struct OpTiming {
  Picos duration[kBesideStates];
  Resource resource;
};

struct TimingInput {
  const GraphConfig& graph;
  const ClusterSpec& cluster;
};

// Indexed like plan.ops. The notify op of an all-to-all lasts its barrier plus the mean wait for
// the slowest member: expert_load_cv · E[max of n normals] · (row-proportional compute since the
// last notify of the block), the spread of the expert rows that the ranks received.
std::vector<OpTiming> time_ops(const ExecPlan& plan, const TimingInput& in, double row_load);

// The kernel time of a compute op alone on `sms` SMs, without the launch gap. Seconds.
double compute_op_seconds(const Op& op, const TimingInput& in, int64_t sms, double hbm_fraction);

}  // namespace orrery
