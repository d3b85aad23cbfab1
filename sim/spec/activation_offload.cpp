#include "sim/spec/activation_offload.h"

namespace orrery {

const std::string_view kOffloadModuleNames[kOffloadModules] = {
    "attn_norm", "qkv_linear", "core_attn",  "attn_proj", "mlp_norm",
    "mlp_fc1",   "mlp_act",    "expert_fc1", "moe_act"};

namespace {

void read_modules(json::Reader& r, ActivationOffload& o) {
  if (!r.has("modules")) return;
  const std::vector<std::size_t> modules = r.choices("modules", kOffloadModuleNames);
  const json::Node* array = r.raw("modules");
  if (array != nullptr && array->items.empty())
    r.fail("modules", "names none; leave it out to offload all of a layer");
  for (const std::size_t m : modules) o.modules.set(m);
}

}  // namespace

std::optional<ActivationOffload> read_activation_offload(json::Reader& plan) {
  if (!plan.has("offload_activations")) return std::nullopt;
  json::Reader r = plan.object("offload_activations");
  ActivationOffload o;
  if (r.has("layers")) o.layers = r.integer("layers", {1, 10000});
  read_modules(r, o);
  o.min_tensor_elements = r.integer_or("min_tensor_elements", o.min_tensor_elements, {1, 1e15});
  r.finish();
  return o;
}

}  // namespace orrery
