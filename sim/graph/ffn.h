// Parts that the dense FFN and the shared expert of a MoE layer have in common.
#pragma once

#include <string>

#include "sim/graph/blocks.h"

namespace orrery {

// The ops of the model's activation.
struct ActivationOps {
  OpKind map, cast, cast_transpose, backward;
  const char* name;
};
ActivationOps activation_ops(const ModelSpec& m);

void ffn_params(StageBuilder& b, FfnTape& t, const std::string& name, int64_t width);
// From the first product, [tokens, gate_factor·width], to the block's output; keeps what the
// backward reads. `up`: where gate_up is the gate alone.
TensorId activation_forward(StageBuilder& b, FfnTape& t, TensorId gate_up, TensorId up = {});
// From the gradient of the block's output to that of the first product (gate and up apart: two).
std::vector<TensorId> activation_backward(StageBuilder& b, TensorId dy, FfnTape& t);

}  // namespace orrery
