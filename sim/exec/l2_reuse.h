// What an op of a stage's graph finds in the L2 cache of what it reads.
//
// A byte is still there when no more than the cache holds has been moved since it was touched,
// itself included: least recently used out first, ops in program order, each moving its
// OpWork::hbm and network (half of it in place). Both the op that touched a tensor before and the
// one that reads it walk it from one end to the other, so the byte at x of [0, 1] of it has seen
//   (1 - x) * earlier + between + x * reader
// bytes pass: what was left of the earlier op, the ops between, and what the reader has moved.
//
// Only kernels that wait for memory alone gain from it: additions and copies, norms, RoPE. Casts,
// transposes and SwiGLU are taken to be held back by arithmetic or shared memory about as much as
// by HBM (casts to E5M6 reach half of its bandwidth), gathers by the latency of their indices: an
// assumption, no such kernel was timed with its inputs in L2.
// Ignored: products and attention; ops of other streams; that half of L2 is further away.
#pragma once

#include <vector>

#include "sim/graph/training_graph.h"

namespace orrery {

// The part of the x of [0, 1] for which the above is no more than `capacity`.
double part_in_l2(double earlier, double between, double reader, double capacity);

// By op: GpuShare::in_l2. All 0 with a capacity of 0.
std::vector<double> reads_in_l2(const StageGraph& g, Bytes capacity);

}  // namespace orrery
