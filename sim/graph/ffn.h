// Parts that the dense FFN and the shared expert of a MoE layer have in common.
#pragma once

#include <string>

#include "sim/graph/blocks.h"

namespace orrery {

void ffn_params(StageBuilder& b, FfnTape& t, const std::string& name, int64_t width);
// From the gate_up product [tokens, 2·width] to the block's output; keeps what the backward reads.
TensorId swiglu_forward(StageBuilder& b, FfnTape& t, TensorId gate_up);
// From the gradient of the block's output to that of the gate_up product.
TensorId swiglu_backward(StageBuilder& b, TensorId dy, FfnTape& t);

}  // namespace orrery
