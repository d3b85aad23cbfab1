// FLOPs and bytes of each op kind, from its shape and operands.
#pragma once

#include "sim/graph/training_graph.h"

namespace orrery {

// GEMMs: 2·m·n·k operations; operands once each, and for weight gradients the FP32 accumulator
// read and written (8·m·n bytes a group). Attention, S tokens, h heads, per sequence: forward
// 2·S²·h·(d_qk + d_v), backward 2·S²·h·(3·d_qk + 2·d_v) (the five products S = QKᵀ, dP = dO·Vᵀ,
// dV = PᵀdO, dQ = dS·K, dK = dSᵀQ), halved by the causal mask. Everything else moves its inputs and
// outputs through HBM once; slices and gathers count only the part they touch.
OpWork op_work(const StageGraph& graph, const Op& op);

// Elements that an op maps, for costs per element: those of m rows of n; of RoPE the rotated ones,
// of attention those of its output, of the optimizer the parameters.
int64_t op_elements(const Op& op);

}  // namespace orrery
