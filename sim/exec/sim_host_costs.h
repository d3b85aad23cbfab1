// What issuing the ops of a plan costs the CPU of a rank (HostSpec), and after which it waits.
//
//   product      forward_us.product, or half of backward_us.product for the input's gradient and
//                half for the weight's, which autograd computes in one node; of grouped experts
//                kernel_us more for each expert after the first, and where they have biases two
//                elementwise operators for each (Megatron-Core, TEGroupedMLP._apply_bias)
//   attention    a product's, forward or backward
//   norm, activation, and all other maps and collectives in a layer: one operator each
//   cast, transpose, amax, the second kernel of a norm's or of an activation's gradient, and
//                everything outside layers: kernel_us; of the experts' rows for each expert
//                (tex.split_quantize)
//   each of the kernels that the stack has beyond the op (unfused_ops, composites): kernel_us
//   graph        of the first op of the part of a layer that is one CUDA graph (HostGraphs): a
//                product's, forward or backward; of the others nothing
// times scale times NodeSpec::host_slowdown.
//
// Ignored: the data loader, hooks of the data-parallel wrapper, garbage collection, and that the
// copies of an optimizer's states are issued in fewer calls.
#pragma once

#include "sim/graph/exec_plan.h"
#include "sim/graph/stage_builder.h"
#include "sim/spec/cluster.h"

namespace orrery {

struct HostCost {
  Picos issue, read_back;  // OpTiming::host, read_back
};

// Of an op of a stage, by its number there. The stack has a `host`.
HostCost host_cost(const StageGraph& stage, uint32_t op, const GraphConfig& graph,
                   const NodeSpec& node);

}  // namespace orrery
