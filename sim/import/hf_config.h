// Hugging Face config.json (and DeepSeek's own inference/configs/*.json) to ModelSpec.
#pragma once

#include "sim/base/json_reader.h"
#include "sim/spec/model.h"

namespace orrery {

// Maps by `model_type` (deepseek_v3, llama, mixtral); a file without it that has DeepSeek's own
// names (`dim`, `n_layers`, `n_activated_experts`...) is read with those. Missing keys take the
// family's defaults in transformers; those that shape the cost are listed in
// `ModelSpec::defaulted`. A key that asks for what the training graph cannot do (biases, dropout,
// another activation, a sliding window) is an error; other unknown keys are ignored. `name` is used
// when the file has none.
ModelSpec read_hf_config(const json::Node& node, const std::string& pointer,
                         const std::string& name, Diagnostics& diagnostics);

}  // namespace orrery
