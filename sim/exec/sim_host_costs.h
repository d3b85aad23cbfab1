// What issuing the ops of a plan costs the CPU of a rank (HostSpec), and after which it waits.
//
//   product      scale * forward_us.product; backward half of backward_us.product for the input's
//                gradient and half for the weight's, which autograd computes in one node; of
//                experts expert_us more for each expert of the rank, and for a bias of theirs two
//                elementwise operators for each (Megatron-Core, TEGroupedMLP._apply_bias)
//   k and v      nothing where the stack's linear has them in one product with q
//                (StackSpec::separate_projections), of which the graph has three
//   attention    as a product, backward all of it
//   norm, activation, and all other maps and collectives of a layer: scale * one such operator;
//                gradients are added as in the forward, without a node
//   cast         kernel_us; of experts' rows expert_us for each expert (tex.split_quantize). The
//                transposed copy comes out of the same call.
//   amax, transposes, the second kernel of a gradient of a norm or a gated activation, the entry
//                barrier of an all-to-all, and everything outside layers: kernel_us
//   each kernel that the stack has beyond the op (unfused_ops, composites): kernel_us
//   graph        the first op of the part of a layer that is one CUDA graph (HostGraphs) costs what
//                a product does, forward or backward; the others nothing
// times NodeSpec::host_slowdown. The CPU waits after the entry barrier of the dispatch in a layer's
// forward, also when that runs again: it carries the counts (kNotify).
//
// Ignored: the data loader, hooks of the data-parallel wrapper, garbage collection, and that the
// optimizer's operators launch many kernels each.
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
