// Activations in host memory between a forward and its backward (sim/graph/activation_copies.h):
// Megatron-Core's fine-grained activation offloading and its --cpu-offloading-num-layers,
// Transformer Engine's get_cpu_offload_context.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>

#include "sim/base/json_reader.h"

namespace orrery {

// What of a layer is offloaded, by the module that keeps it for its backward. Megatron's
// --offload-modules, and of dense feed-forward blocks and shared experts what it has for experts.
enum class OffloadModule : uint8_t {
  kAttnNorm,   // the residual stream that the norm before attention reads
  kQkvLinear,  // inputs of the projections to queries, keys and values, and of norms after them
  kCoreAttn,   // queries, keys, values, log-sum-exps, and what an unfused core keeps
  kAttnProj,   // the core's output
  kMlpNorm,    // the residual stream that the norm before the feed-forward block reads
  kMlpFc1,     // the normed input of a dense block, of the router and of shared experts
  kMlpAct,     // input of their activation function, and its output where that is kept
  kExpertFc1,  // the tokens that arrived for the experts
  kMoeAct,     // input of the experts' activation function
};
constexpr int kOffloadModules = 9;
// "attn_norm", "qkv_linear", "core_attn", "attn_proj", "mlp_norm", "mlp_fc1", "mlp_act",
// "expert_fc1", "moe_act"
extern const std::string_view kOffloadModuleNames[kOffloadModules];

struct ActivationOffload {
  // The first layers of each stage; absent: all. The last layer of the model stays on the GPU,
  // since its backward follows its forward (but with gpipe).
  std::optional<int64_t> layers;
  // None named: everything that the backward of a layer reads of its forward, its indices too.
  std::bitset<kOffloadModules> modules;
  // Smaller tensors stay on the GPU. The default is Megatron's and Transformer Engine's.
  int64_t min_tensor_elements = int64_t{1} << 20;

  bool takes(OffloadModule m) const {
    return modules.none() || modules.test(static_cast<std::size_t>(m));
  }
};

// The plan's key "offload_activations": {"layers": 3, "modules": ["core_attn", "moe_act"],
// "min_tensor_elements": 1048576}, all optional; absent: nothing is offloaded.
std::optional<ActivationOffload> read_activation_offload(json::Reader& plan);

}  // namespace orrery
