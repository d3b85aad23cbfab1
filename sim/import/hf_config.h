// Hugging Face config.json (and DeepSeek's own inference/configs/*.json) to ModelSpec.
#pragma once

#include "sim/base/json_reader.h"
#include "sim/spec/model.h"

namespace orrery {

// Maps by `model_type`: deepseek_v2, deepseek_v3, ernie4_5_moe, falcon, glm4_moe, gpt2, gpt_neox,
// gpt_oss, kimi_k2, llama, mistral, mixtral, mpt, nemotron, phi3, qwen2, qwen2_moe, qwen3,
// qwen3_moe, starcoder2, and "orrery" (sim/spec/model_json.h); a file without it that has
// DeepSeek's own names (`dim`, `n_layers`, `n_activated_experts`...) is read with those. Missing
// keys take the family's defaults in transformers; those that shape the cost are listed in
// `ModelSpec::defaulted`. A key that asks for what the training graph cannot do (dropout of
// attention probabilities, another activation) is an error; other unknown keys are ignored, but for
// "orrery". `name` is used when the file has none.
ModelSpec read_hf_config(const json::Node& node, const std::string& pointer,
                         const std::string& name, Diagnostics& diagnostics);

}  // namespace orrery
