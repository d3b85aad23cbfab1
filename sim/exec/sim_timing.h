// Durations of the ops of an ExecPlan on a cluster with a stack.
//
// Compute ops have sixteen durations, one per state of what runs beside them on their GPU (`Beside`
// bits), so that the event loop only looks them up and rescales the work left when the state
// changes: all-to-all kernels hold their SMs (StackSpec communication_sms), collectives and
// messages between stages hold an SM a channel, and a second compute kernel takes half of the SMs
// and of HBM. Communication ops have one duration, and their demand for the ports of the GPU
// (sim_ports.h).
//
// Of a message between two ranks NCCL gives each an equal part of its channels, one block each
// (nChannelsMin of addP2pToPlan, src/enqueue.cc): of 32 channels 16, as many as a waiting receive
// was seen to hold on an H200, whose collectives held 24 (experiments/validation_h200).
//
// Where kernels of communication wait for SMs (StackSpec communication_waits_for_sms), a product of
// the library keeps its SMs for the tiles of a wave, one with a fixed grid to its end, attention
// for a tile, and small blocks of memory-bound kernels leave theirs at once.
#pragma once

#include "sim/cost/roofline.h"
#include "sim/exec/plan_timing.h"
#include "sim/graph/exec_plan.h"
#include "sim/graph/stage_builder.h"
#include "sim/spec/cluster.h"

namespace orrery {

// How collectives are costed: by closed form, or by their steps as flows (sim/net/chunk.h) where
// these are known.
enum class CollectiveTier : uint8_t { kFormula, kChunk };

struct TimingInput {
  const GraphConfig& graph;
  const ClusterSpec& cluster;
  CollectiveTier collectives = CollectiveTier::kFormula;
  double clock = 0;  // GpuShare::clock of the compute kernels; time_ops finds its own (power.h)
};

// Indexed like plan.ops. The notify op of an all-to-all lasts its barrier plus the mean wait for
// the slowest member: expert_load_cv · E[max of n normals] · (row-proportional compute since the
// last notify of the block), the spread of the expert rows that the ranks received.
PlanTiming time_ops(const ExecPlan& plan, const TimingInput& in, double row_load);

// The index in kRateFamilyNames of the constants that most of an op's time comes from; -1 for
// communication and for what the stack's profile times (routers, layouts, kernels with a rate of
// their own).
int rate_family(const Op& op, const GraphConfig& graph);

// The kernel time of a compute op, without the launch gap, at the clock of `in`. Seconds.
double compute_op_seconds(const Op& op, const TimingInput& in, GpuShare share);

}  // namespace orrery
