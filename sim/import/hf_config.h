// Hugging Face config.json (and DeepSeek's own inference/configs/*.json) to ModelSpec.
#pragma once

#include "sim/base/json_reader.h"
#include "sim/spec/model.h"

namespace orrery {

// Maps by `model_type` (deepseek_v3, qwen3_moe, mixtral); a file without it that has DeepSeek's own
// names (`dim`, `n_layers`, `n_activated_experts`...) is read with those. Keys that do not shape
// the training graph are ignored; missing keys take the family's defaults and are listed in
// `ModelSpec::defaulted`. `name` is used when the file has none.
ModelSpec read_hf_config(const json::Node& node, const std::string& pointer,
                         const std::string& name, Diagnostics& diagnostics);

}  // namespace orrery
